"use strict";
// Text from models and data sets only becomes text nodes: it is never parsed as markup.

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function minus(value) {
  return String(value).replace("-", "−");
}
