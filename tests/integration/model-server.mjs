// A model server for tests: answers by the model's name with a script, over plain Node HTTP, and remembers what it was
// asked and when each connection closed. An unknown model is a 404.
import { once } from "node:events";
import http from "node:http";
import { setImmediate as turn } from "node:timers/promises";

async function bodyOf(request) {
  let text = "";
  request.setEncoding("utf8");
  for await (const piece of request) text += piece;
  return JSON.parse(text);
}

export class ModelServer {
  #server;
  /** {path, headers, body, at, closed: Promise of the moment, in ms as at} */
  requests = [];

  /** @param {Record<string, (answer: http.ServerResponse, seen: object) => void>} scripts by model */
  static async start(scripts) {
    const made = new ModelServer();
    made.scripts = scripts;
    made.#server = http.createServer((request, response) => made.#answer(request, response));
    made.#server.listen(0, "127.0.0.1");
    await once(made.#server, "listening");
    made.url = `http://127.0.0.1:${made.#server.address().port}/v1`;
    return made;
  }

  async #answer(request, response) {
    const seen = { path: request.url, headers: request.headers, at: performance.now() };
    seen.closed = once(response, "close").then(() => performance.now());
    seen.body = await bodyOf(request);
    seen.count = this.of(seen.body.model).length + 1;
    this.requests.push(seen);
    const script = this.scripts[seen.body.model];
    if (script) return script(response, seen);
    response.writeHead(404, { "content-type": "application/json" });
    response.end('{"error":{"type":"not_found_error","message":"no such model"}}');
  }

  /** What was asked of one model. */
  of(model) {
    return this.requests.filter((seen) => seen.body.model === model);
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

export function beginStream(response) {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
}

/** Sends bytes in pieces that respect neither events nor characters. */
export async function sendTorn(response, bytes, size = 37) {
  beginStream(response);
  for (let at = 0; at < bytes.length; at += size) {
    response.write(bytes.subarray(at, at + size));
    await turn();
  }
  response.end();
}

const data = (value, event) => `${event ? `event: ${event}\n` : ""}data: ${JSON.stringify(value)}\n\n`;
const typed = (value) => data(value, value.type);
const choice = (delta, finish_reason = null) =>
  data({ id: "c1", object: "chat.completion.chunk", model: "m", choices: [{ index: 0, delta, finish_reason }] });

/** The two formats: how a stream begins, says a piece, cites a source, and ends with usage. */
export const formats = {
  openai: {
    path: "/v1/chat/completions",
    begin: choice({ role: "assistant", content: "" }),
    piece: (content) => choice({ content }),
    citation: (source) => choice({ annotations: [source] }),
    end:
      choice({}, "stop") +
      data({ id: "c1", choices: [], usage: { prompt_tokens: 7, completion_tokens: 5, total_tokens: 12 } }) +
      "data: [DONE]\n\n",
  },
  anthropic: {
    path: "/v1/messages",
    begin:
      typed({
        type: "message_start",
        message: { id: "m1", role: "assistant", model: "m", content: [], usage: { input_tokens: 7, output_tokens: 1 } },
      }) + typed({ type: "content_block_start", index: 0, content_block: { type: "text", text: "" } }),
    piece: (text) => typed({ type: "content_block_delta", index: 0, delta: { type: "text_delta", text } }),
    citation: (citation) =>
      typed({ type: "content_block_delta", index: 0, delta: { type: "citations_delta", citation } }),
    end:
      typed({ type: "content_block_stop", index: 0 }) +
      typed({ type: "message_delta", delta: { stop_reason: "end_turn" }, usage: { output_tokens: 5 } }) +
      typed({ type: "message_stop" }),
  },
};
