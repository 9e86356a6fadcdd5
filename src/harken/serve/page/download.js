// Downloads: offer data that was made in the page as a file.

const KEEP_URL_MS = 60_000; // some browsers start reading the Blob only after the user has confirmed the download

/** Offer a Blob to the user as a file with this name. */
export function download(blob, name) {
  const url = URL.createObjectURL(blob);
  Object.assign(document.createElement("a"), { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), KEEP_URL_MS);
}
