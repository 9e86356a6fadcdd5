// Two shortcuts for working with the page's elements.

/** Return the element with this id. */
export const $ = (id) => document.getElementById(id);

/** Create an element, set its properties, and append its children. */
export function create(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}
