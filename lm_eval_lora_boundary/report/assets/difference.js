// Word-level differences.

const DIFF_CELLS = 4e6; // larger differences would take too long: then all words that differ are marked at once

// a word or a symbol; scripts without spaces between words are compared by character
const WORD =
  /(\s*)([\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}_]+|[^\s])|(\s+)$/gu;

function words(text) {
  return [...text.matchAll(WORD)].map((m) => ({ space: m[1] ?? m[3], word: m[2] ?? "" }));
}

// Longest common subsequence. Returns the second text in [kind, text] runs: "same" or "added".
function difference(from, to) {
  const a = words(from);
  const b = words(to);
  let start = 0;
  while (start < a.length && start < b.length && a[start].word === b[start].word) start++;
  let end = 0;
  const room = Math.min(a.length, b.length) - start;
  while (end < room && a[a.length - 1 - end].word === b[b.length - 1 - end].word) end++;
  const [n, m] = [a.length - start - end, b.length - start - end];
  const runs = [];
  const add = (kind, text) => {
    const last = runs[runs.length - 1];
    if (last && last[0] === kind) last[1] += text;
    else if (text) runs.push([kind, text]);
  };
  const push = (kind, token) => {
    const last = runs[runs.length - 1];
    // the space before a marked run is not marked
    add(last && last[0] === kind ? kind : "same", token.space);
    add(kind, token.word);
  };
  b.slice(0, start).forEach((token) => push("same", token));
  if (n * m > DIFF_CELLS) {
    b.slice(start, start + m).forEach((token) => push("added", token));
  } else {
    const width = m + 1;
    const common = new Uint32Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        common[i * width + j] =
          a[start + i].word === b[start + j].word
            ? common[(i + 1) * width + j + 1] + 1
            : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
      }
    }
    let [i, j] = [0, 0];
    while (i < n || j < m) {
      if (i < n && j < m && a[start + i].word === b[start + j].word) {
        push("same", b[start + j]);
        i++;
        j++;
      } else if (i < n && (j === m || common[(i + 1) * width + j] >= common[i * width + j + 1])) {
        i++; // only in the first text
      } else {
        push("added", b[start + j++]);
      }
    }
  }
  b.slice(b.length - end).forEach((token) => push("same", token));
  return runs;
}
