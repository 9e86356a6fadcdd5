// The engine of the page that `harken serve` serves: sends audio to the server.
// engine-browser.js has the same functions and runs the model in the browser.

import { toPcm } from "./wav.js";

export const PRIVACY_NOTE = "Live audio and the files you drop here are sent to this page's server, processed in memory, and never stored.";

export const TEACHING_HELP = "harken serve --teach";

const baseUrl = new URL("../", import.meta.url);
const TOKEN_KEY = "harken-token";
let token = sessionStorage.getItem(TOKEN_KEY) ?? "";

/** The server needs a token, or rejected the one it got. */
export class TokenRequired extends Error {
  name = "TokenRequired";
}

/** Use this token from now on, for as long as the browser tab is open. */
export function setToken(value) {
  token = value;
  sessionStorage.setItem(TOKEN_KEY, value);
}

async function request(path, options = {}) {
  // A header cannot contain other characters, and no token of the server does.
  if (/[^!-~]/.test(token)) throw new TokenRequired("The token has characters that no token can have.");
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(new URL(path, baseUrl), { ...options, headers });
  const body = await response.json().catch(() => ({ error: `The server answered ${response.status} ${response.statusText}` }));
  if (response.status === 401) throw new TokenRequired(body.error);
  if (!response.ok) throw new Error(body.error);
  return body;
}

/** Return the model card. */
export const loadCard = () => request("v1/model");

/** Recognize the word in an audio file. */
export const predict = (file) => request("v1/predict", { method: "POST", body: file });

/** Encode text as base64url, as WebSocket subprotocols need it. */
function base64Url(text) {
  const encoded = btoa(String.fromCharCode(...new TextEncoder().encode(text)));
  return encoded.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/**
 * Detect words in a stream of samples at `rate` Hz.
 *
 * `handlers` has a function for each message type of the server (event, error, posteriors, ...), and `closed`, which gets
 * the reason, or "" if the page itself closed the stream.
 */
export async function listen(rate, handlers) {
  const url = new URL(`v1/listen?rate=${rate}&posteriors=true`, baseUrl);
  url.protocol = url.protocol.replace("http", "ws");
  const socket = new WebSocket(url, token ? ["harken", `bearer.${base64Url(token)}`] : ["harken"]);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    handlers[message.type]?.(message);
  };
  socket.onclose = ({ code, reason }) => {
    handlers.closed?.(code === 1000 ? "" : reason || "The connection to the server was lost. Check that it is running, then try again.");
  };
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("The server doesn't respond. Check that it is running, then try again."));
  });
  const send = (message) => socket.readyState === WebSocket.OPEN && socket.send(message);
  return {
    push: (samples) => send(toPcm(samples)),
    setThresholds: (thresholds) => send(JSON.stringify({ type: "thresholds", thresholds })),
    close: () => {
      socket.onmessage = socket.onclose = null; // what still arrives must not reach a later stream
      socket.close(1000);
    },
  };
}
