/** Round to the nearest whole number, and a half to the even one, as Python does. */
export function round(x) {
  return x % 1 === 0.5 ? 2 * Math.round(x / 2) : Math.round(x);
}
