// The model behind harken serve: the engine of the served page. engine-browser.js answers alike without a server.

import { toPcm } from "./wav.js";

export const privacy = "What it listens to, and what is dropped here, goes to this page's own server, is judged there in memory, and is not kept.";

const base = new URL("../", import.meta.url);
let token = sessionStorage.getItem("harken-token") ?? "";

/** The server asks for a token, or for another one. */
export class TokenNeeded extends Error {}

export function useToken(given) {
  token = given;
  sessionStorage.setItem("harken-token", given);
}

async function ask(path, options = {}) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const answer = await fetch(new URL(path, base), { ...options, headers });
  const body = await answer.json();
  if (answer.status === 401) throw new TokenNeeded(body.error);
  if (!answer.ok) throw new Error(body.error);
  return body;
}

export const card = () => ask("v1/model");

/** What is heard in a file. */
export const predict = (file) => ask("v1/predict", { method: "POST", body: file });

/** Listen to a stream of samples at `rate` Hz; `on` has ready, posteriors, event, settings, closed. */
export async function listen(rate, on) {
  const address = new URL(`v1/listen?rate=${rate}&posteriors=true`, base);
  address.protocol = address.protocol.replace("http", "ws");
  const encoded = btoa(String.fromCharCode(...new TextEncoder().encode(token))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const socket = new WebSocket(address, token ? ["harken", `bearer.${encoded}`] : ["harken"]);
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    on[message.type]?.(message);
  };
  socket.onclose = ({ code, reason }) => on.closed?.(code === 1000 ? "" : reason || "The server is gone: start it again.");
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = () => reject(new Error("The server does not answer: is it still running?"));
  });
  const tell = (message) => socket.readyState === WebSocket.OPEN && socket.send(message);
  return {
    push: (samples) => tell(toPcm(samples)),
    retune: (thresholds) => tell(JSON.stringify({ type: "thresholds", thresholds })),
    close: () => socket.close(1000),
  };
}
