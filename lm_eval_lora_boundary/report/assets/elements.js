"use strict";
// Texts of models and data sets only ever become text nodes: no markup is parsed from them.

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
