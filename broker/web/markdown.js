// A small, safe Markdown for text that is still growing: built from DOM nodes only, never from HTML. What is finished
// stays as it is; each update touches the last block alone. A fence that is not closed yet is code up to the end, and
// a marker whose line is not finished ("``", "- ", "##") waits for the rest of its line.

const FENCE = /^ {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*)$/;
const RULE = /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/;
const ITEM = /^([ \t]*)([-*+]|\d{1,9}[.)])[ \t]+(.*)$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const TABLE = /^ {0,3}\|/;
const HALF_MARKER = /^[ \t]*(?:[-*+>#|`~_]{1,6}|\d{1,9}[.)]?)[ \t]*$/;
// The bounds on what stands between two marks keep hostile text from costing more than its length.
const INLINE =
  /(`{1,3})([^`\n]{1,400})\1|\*\*(?=\S)([^\n]{1,400}?)\*\*|(?<![\w*])\*(?=[^\s*])([^\n*]{1,400})\*(?![\w*])|\[([^[\]\n]{1,200})\]\((https?:\/\/[^\s()]{1,500})\)/g;

export class MarkdownView {
  #root;
  #tailStart = 0; // where in the text the last block begins
  #tail = null; // {type, node, code}

  /** @param {HTMLElement} root emptied and filled */
  constructor(root) {
    this.#root = root;
    root.replaceChildren();
  }

  /**
   * @param {string} text all of it
   * @param {number} from nothing before this has changed since the last update
   * @param {boolean} final no more will come
   */
  update(text, from, final = false) {
    if (from < this.#tailStart) {
      this.#root.replaceChildren();
      this.#tailStart = 0;
      this.#tail = null;
    }
    const blocks = split(text, this.#tailStart, final);
    for (const block of blocks) {
      const same = block === blocks[0] && this.#tail !== null;
      if (same && block.type === "code" && this.#tail.type === "code") grow(this.#tail.code, block.text);
      else this.#place(block, same);
      this.#tailStart = block.start;
    }
  }

  #place(block, replace) {
    const made = build(block);
    if (replace) this.#tail.node.replaceWith(made.node);
    else this.#root.append(made.node);
    this.#tail = { type: block.type, ...made };
  }
}

// Appending to a long text node is cheap; setting it again is not.
function grow(node, text) {
  if (text.length > node.length && text.startsWith(node.data)) node.appendData(text.slice(node.length));
  else if (text !== node.data) node.data = text;
}

function* linesOf(text, start, final) {
  for (let at = start; at < text.length;) {
    const end = text.indexOf("\n", at);
    const next = end < 0 ? text.length : end + 1;
    const line = text.slice(at, end < 0 ? text.length : end).replace(/\r$/, "");
    if (end >= 0 || final || !HALF_MARKER.test(line)) yield { start: at, line };
    at = next;
  }
}

function split(text, start, final) {
  const blocks = [];
  let open = null;
  for (const { start: at, line } of linesOf(text, start, final)) {
    if (open !== null && CONTINUES[open.type](open, line)) continue;
    open = begin(line, at);
    if (open !== null) blocks.push(open);
  }
  for (const block of blocks) if (block.type === "code") block.text = block.lines.join("\n");
  return blocks;
}

function begin(line, start) {
  let found;
  if (/^\s*$/.test(line)) return null;
  if ((found = FENCE.exec(line)))
    return { type: "code", start, mark: found[1], language: found[2], lines: [], closed: false };
  if ((found = HEADING.exec(line)))
    return { type: "heading", start, level: found[1].length, text: found[2].replace(/[ \t]+#+[ \t]*$/, "") };
  if (RULE.test(line)) return { type: "rule", start };
  if (ITEM.test(line)) return { type: "list", start, items: [item(line)], blank: false };
  if ((found = QUOTE.exec(line))) return { type: "quote", start, lines: [found[1]] };
  return { type: TABLE.test(line) ? "table" : "paragraph", start, lines: [line] };
}

function item(line) {
  const [, indent, mark, text] = ITEM.exec(line);
  return {
    depth: indent.replace(/\t/g, "    ").length,
    ordered: /\d/.test(mark),
    number: parseInt(mark, 10),
    lines: [text],
  };
}

/** Whether a line belongs to the open block; takes it if so. */
const CONTINUES = {
  code(block, line) {
    if (block.closed) return false;
    const closing = line.trim();
    if (closing.length >= block.mark.length && closing === block.mark[0].repeat(closing.length)) block.closed = true;
    else block.lines.push(line);
    return true;
  },
  list(block, line) {
    if (/^\s*$/.test(line)) return (block.blank = true);
    if (ITEM.test(line) && !RULE.test(line)) {
      const [first, next] = [block.items[0], item(line)];
      if (next.depth <= first.depth && next.ordered !== first.ordered) return false; // another list
      block.items.push(next);
    } else if (/^\s/.test(line) || (!block.blank && begin(line, 0).type === "paragraph"))
      block.items.at(-1).lines.push(line.trim());
    else return false;
    block.blank = false;
    return true;
  },
  quote(block, line) {
    const found = QUOTE.exec(line);
    if (found) block.lines.push(found[1]);
    return found !== null;
  },
  table(block, line) {
    return TABLE.test(line) && block.lines.push(line) > 0;
  },
  paragraph(block, line) {
    return begin(line, 0)?.type === "paragraph" && block.lines.push(line) > 0;
  },
  heading: () => false,
  rule: () => false,
};

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function build(block) {
  if (block.type === "code") return buildCode(block);
  if (block.type === "heading") return { node: element(`h${Math.min(6, block.level + 1)}`, ...inline(block.text)) };
  if (block.type === "rule") return { node: element("hr") };
  if (block.type === "list") return { node: buildList(block.items) };
  if (block.type === "quote") return { node: element("blockquote", ...inline(block.lines.join("\n"))) };
  if (block.type === "table") return { node: element("pre", block.lines.join("\n")) };
  return { node: element("p", ...inline(block.lines.join("\n"))) };
}

function buildCode(block) {
  const code = document.createTextNode(block.text);
  const node = element("pre", element("code", code));
  node.className = "code";
  if (block.language) node.dataset.language = block.language.slice(0, 20);
  return { node, code };
}

function buildList(items) {
  const open = []; // lists from the outermost in
  const list = (one) => {
    const made = element(one.ordered ? "ol" : "ul");
    if (one.ordered && one.number > 1) made.start = one.number;
    open.push({ depth: one.depth, made });
    return made;
  };
  const outer = list(items[0]);
  for (const one of items) {
    while (open.length > 1 && one.depth < open.at(-1).depth) open.pop();
    const last = open.at(-1);
    const parent = last.made.lastElementChild;
    if (parent && one.depth > last.depth + 1 && open.length < 6) parent.append(list(one));
    open.at(-1).made.append(element("li", ...inline(one.lines.join("\n"))));
  }
  return outer;
}

/** Nodes for the text of one block. */
function inline(text, depth = 0) {
  const nodes = [];
  let at = 0;
  for (const found of depth > 2 ? [] : text.matchAll(INLINE)) {
    if (found.index > at) nodes.push(text.slice(at, found.index));
    at = found.index + found[0].length;
    const [, , code, strong, emphasis, label, href] = found;
    if (code !== undefined) nodes.push(element("code", code));
    else if (strong !== undefined) nodes.push(element("strong", ...inline(strong, depth + 1)));
    else if (emphasis !== undefined) nodes.push(element("em", ...inline(emphasis, depth + 1)));
    else nodes.push(link(label, href));
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

function link(label, href) {
  const made = element("a", label);
  made.href = href;
  made.target = "_blank";
  made.rel = "noopener noreferrer nofollow";
  return made;
}
