// The model server of a rehearsal, a process of its own (fork): OpenAI's chat completions at a steady rate, for those
// who have a key that it takes at the moment. The prompt says what to answer: JSON {number, tokens, rate}. It goes on
// from half an answer as vLLM does. Messages: {keys: [...]} sets the keys; {ask: true} is answered with the counts.
import http from "node:http";
import { pathToFileURL } from "node:url";

import { beginStream, formats } from "../integration/model-server.mjs";

const FIRST_MS = 100; // what a model thinks before its first word
const WORDS = ["fox", "dog", "café", "\u{1F98A}", "naïve", "«x»", "日本語", "tail", "end.\n"];

/** The answer to a prompt, as pieces. */
export function pieces({ number, tokens }) {
  return Array.from({ length: tokens }, (_, i) => `${i > 0 ? " " : ""}${WORDS[(number + i) % WORDS.length]}${i}`);
}

/** What is left to say behind `said`: the rest of the piece in which it ends, then whole ones. */
function rest(all, said) {
  let at = 0;
  const left = [];
  for (const piece of all) {
    if (at + piece.length > said) left.push(piece.slice(Math.max(0, said - at)));
    at += piece.length;
  }
  return left;
}

function say(response, left, rate) {
  const { begin, piece, end } = formats.openai;
  let timer = setTimeout(() => {
    beginStream(response);
    response.write(begin);
    timer = setInterval(() => {
      if (left.length > 0) return void response.write(piece(left.shift()));
      clearInterval(timer);
      response.end(end);
    }, 1000 / rate);
  }, FIRST_MS);
  response.on("close", () => {
    clearTimeout(timer);
    clearInterval(timer);
  });
}

function serve() {
  let keys = [];
  const counts = { refused: 0, byKey: {}, continued: 0 };
  const server = http.createServer(async (request, response) => {
    let text = "";
    for await (const part of request.setEncoding("utf8")) text += part;
    const key = (request.headers.authorization ?? "").replace(/^Bearer /, "");
    if (!keys.includes(key)) {
      counts.refused += 1;
      response.writeHead(401, { "content-type": "application/json" });
      return void response.end('{"error":{"message":"wrong key","code":"invalid_api_key"}}');
    }
    counts.byKey[key] = (counts.byKey[key] ?? 0) + 1;
    const { messages } = JSON.parse(text);
    const prompt = JSON.parse(messages.find(({ role }) => role === "user").content);
    const half = messages.at(-1).role === "assistant" ? messages.at(-1).content : "";
    if (half) counts.continued += 1;
    say(response, rest(pieces(prompt), half.length), prompt.rate);
  });
  server.listen(0, "127.0.0.1", () => process.send({ port: server.address().port }));
  process.on("message", (message) => {
    if (message.keys) keys = message.keys;
    process.send({ counts });
  });
  process.on("disconnect", () => process.exit(0));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? "").href) serve();
