// A fetch whose answers are scripted: each request takes the next handler and is recorded.

const encoder = new TextEncoder();

/** An SSE event as the broker writes it: id last. */
export function sse(type, data, id) {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n${id ? `id: ${id}\n` : ""}\n`;
}

export function ndjson(...events) {
  return events.map((event) => `${JSON.stringify(event)}\n`).join("");
}

/** A body that ends after its parts; a part is text or bytes, "hang" (until aborted) or "reset" (a network error). */
export function body(parts, signal) {
  let at = 0;
  return new ReadableStream({
    start(controller) {
      signal?.addEventListener("abort", () => {
        try {
          controller.error(new DOMException("aborted", "AbortError"));
        } catch {
          // already closed
        }
      });
    },
    async pull(controller) {
      await new Promise(setImmediate);
      const part = parts[at++];
      if (part === undefined) controller.close();
      else if (part === "reset") controller.error(new TypeError("terminated"));
      else if (part === "hang") await new Promise(() => {});
      else if (part instanceof Promise) controller.enqueue(encoder.encode(await part));
      else controller.enqueue(typeof part === "string" ? encoder.encode(part) : part);
    },
  });
}

export function stream(...parts) {
  return ({ signal }) =>
    new Response(body(parts, signal), { status: 200, headers: { "content-type": "text/event-stream" } });
}

export function lines(...parts) {
  return ({ signal }) =>
    new Response(body(parts, signal), { status: 200, headers: { "content-type": "application/x-ndjson" } });
}

export function status(code, problem, headers = {}) {
  return () =>
    code === 204
      ? new Response(null, { status: 204 })
      : new Response(JSON.stringify(problem ?? { title: "refused", status: code }), {
          status: code,
          headers: { "content-type": "application/problem+json", ...headers },
        });
}

/** handlers: one a request, in order; a handler may also be an Error, which the fetch throws. */
export function scripted(...handlers) {
  const requests = [];
  const fake = async (url, init) => {
    const made = {
      url: new URL(url),
      headers: new Headers(init.headers),
      method: init.method ?? "GET",
      body: init.body,
    };
    requests.push(made);
    const handler = handlers[requests.length - 1];
    if (handler === undefined) throw new Error(`request ${requests.length} to ${url} was not expected`);
    if (handler instanceof Error) throw handler;
    if (init.signal?.aborted) throw new DOMException("aborted", "AbortError");
    return handler({ ...made, signal: init.signal });
  };
  return {
    fetch: fake,
    requests,
    get left() {
      return handlers.length - requests.length;
    },
  };
}
