"use strict";
// Formulas and numbers as document nodes. In a formula, _ and ^ set the letters, the digits or the
// {group} after them below and above the line, and ∂u/∂v is a fraction.

const Notation = (() => {
  const TOKEN =
    /∂(\w(?:[_^](?:\{[^}]*\}|\w+))?)\/∂(\w(?:[_^](?:\{[^}]*\}|\w+))?)|([_^])(?:\{([^}]*)\}|([\p{L}\d]+|-\d+))|(\p{L}+'?)|([^_^∂\p{L}]+|.)/gu;

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value !== null && value !== false)
        made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat(Infinity));
    return made;
  }

  // A single letter is a variable, and slanted, and so are indices; exp, if and Σ are not.
  function word(text, index) {
    const variable = index || /^[a-zA-Zδηλασφ]'?$/u.test(text);
    return variable ? element("i", {}, text) : document.createTextNode(text);
  }

  const signs = (text) => text.replace("<=", "≤").replace(">=", "≥").replaceAll("-", "−");

  function formula(text, index = false) {
    const nodes = [];
    for (const match of text.matchAll(TOKEN)) {
      const [, top, bottom, script, group, short, letters, other] = match;
      if (top) {
        const parts = [top, bottom].map((part) => element("span", {}, "∂", formula(part)));
        nodes.push(element("span", { class: "fraction" }, parts));
      } else if (script) {
        nodes.push(element(script === "_" ? "sub" : "sup", {}, formula(group ?? short, true)));
      } else {
        nodes.push(letters ? word(letters, index) : document.createTextNode(signs(other)));
      }
    }
    return nodes;
  }

  const math = (text) => element("span", { class: "math" }, formula(text));

  // Prose in which `…` is a formula.
  const prose = (text) => text.split("`").map((part, i) => (i % 2 ? math(part) : part));

  const SUPERSCRIPT = {
    "-": "⁻",
    0: "⁰",
    1: "¹",
    2: "²",
    3: "³",
    4: "⁴",
    5: "⁵",
    6: "⁶",
    7: "⁷",
    8: "⁸",
    9: "⁹",
  };

  function special(value) {
    if (Number.isNaN(value)) return "NaN";
    return value > 0 ? "∞" : "−∞";
  }

  function power(text) {
    const [digits, exponent] = text.split("e");
    const raised = Number(exponent)
      .toString()
      .replace(/./g, (c) => SUPERSCRIPT[c]);
    return `${digits}×10${raised}`;
  }

  // Six significant digits.
  function number(value, digits = 6) {
    if (!Number.isFinite(value)) return special(value);
    const rounded = Number(value.toPrecision(digits)) + 0;
    const size = Math.abs(rounded);
    const plain = size === 0 || (size >= 1e-4 && size < 1e7);
    const text = plain ? String(rounded) : power(rounded.toExponential());
    return text.replace("-", "−");
  }

  // As much as fits into a neuron.
  function short(value) {
    if (!Number.isFinite(value)) return special(value);
    const size = Math.abs(value);
    if (size !== 0 && (size < 5e-4 || size >= 9999.5)) {
      return value.toExponential(0).replace("e+", "e").replace(/-/g, "−");
    }
    const places = size < 9.995 ? (size < 0.9995 ? 3 : 2) : size < 99.95 ? 1 : 0;
    return (Number(value.toFixed(places)) + 0)
      .toFixed(Number.isInteger(value) ? 0 : places)
      .replace("-", "−");
  }

  return { element, math, prose, number, short };
})();
