"use strict";
// Puts the parts of the page together: selection, steps, keys, theme.

const Page = (() => {
  const { element, math, prose, number } = Notation;
  const get = (id) => document.getElementById(id);
  const data = JSON.parse(get("data").textContent);
  const model = Model.load(data);
  const steps = Steps.build(model);
  const SECONDS = 1.6; // a step lasts, at speed 1

  const state = { focus: startingFocus(), step: steps.length - 1, timer: null };
  const drawing = Drawing.create(get("drawing"), model, select);
  const formulas = Formulas.create(get("formulas"), model, select, choose);
  const descent = model.complete
    ? Descent.create(get("descent"), model, showAll, showNumbers)
    : null;

  // The weight of the first layer that matters most.
  function startingFocus() {
    const { a, delta } = model.view();
    const strongest = (values, neurons) =>
      neurons.reduce((best, i) => (Math.abs(values[i]) > Math.abs(values[best]) ? i : best));
    return {
      kind: "weight",
      l: 1,
      j: strongest(delta[0], model.kept(1)),
      k: strongest(a[0], model.kept(0)),
    };
  }

  function paint() {
    const scale = drawing.paint({
      focus: state.focus,
      active: steps[state.step],
      known: Steps.known(steps, state.step),
    });
    legend(scale);
    const { math: formula, text } = steps[state.step];
    get("caption").replaceChildren(
      element("div", { class: "formula" }, math(formula)),
      element("p", {}, prose(text)),
    );
    get("step").value = state.step;
    get("step").setAttribute("aria-valuetext", `step ${state.step + 1} of ${steps.length}`);
    for (const id of ["first", "back"]) get(id).disabled = state.step === 0;
    for (const id of ["last", "forward"]) get(id).disabled = state.step === steps.length - 1;
  }

  function showNumbers() {
    formulas.show(state.focus, descent?.rate());
    descent?.show();
  }

  function showAll() {
    paint();
    showNumbers();
  }

  function legend(scale) {
    const bar = (symbol, meaning, largest, ring) =>
      element(
        "div",
        { class: "scale" },
        element("span", {}, prose(symbol), ` ${meaning}`),
        element(
          "span",
          { class: "ends" },
          number(-largest, 3),
          element("span", { class: ring ? "bar line" : "bar" }),
          number(largest, 3),
        ),
      );
    get("legend").replaceChildren(
      bar("`a`", "activation (fill)", scale.a),
      bar("`δ`", "error (ring)", scale.delta, true),
      bar("`w`", "weight (edge)", scale.w, true),
    );
  }

  function select(focus) {
    state.focus = focus;
    paint();
    formulas.show(focus, descent?.rate());
  }

  function choose(value) {
    model.choose(value);
    get("sample").value = String(value);
    showAll();
  }

  function go(step) {
    state.step = Math.max(0, Math.min(steps.length - 1, step));
    paint();
  }

  function pause() {
    clearInterval(state.timer);
    state.timer = null;
    playing(false);
  }

  function playing(on) {
    get("play").textContent = on ? "⏸ Pause" : "▶ Play";
    get("play").setAttribute("aria-label", on ? "Pause" : "Play");
  }

  function play() {
    if (state.step === steps.length - 1) go(0);
    playing(true);
    clearInterval(state.timer);
    state.timer = setInterval(
      () => {
        go(state.step + 1);
        if (state.step === steps.length - 1) pause();
      },
      (1000 * SECONDS) / Number(get("speed").value),
    );
    document.body.style.setProperty("--speed", get("speed").value);
  }

  function move(to) {
    pause();
    go(to);
  }

  function keys(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, textarea, [role=slider]")) return;
    const onControl = event.target.closest("button, [role=button], summary");
    const actions = {
      ArrowRight: () => move(state.step + 1),
      ArrowLeft: () => move(state.step - 1),
      Home: () => move(0),
      End: () => move(steps.length - 1),
      " ": () => (state.timer ? pause() : play()),
    };
    if (!actions[event.key] || (event.key === " " && onControl)) return;
    event.preventDefault();
    actions[event.key]();
  }

  function theme() {
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    const root = document.documentElement;
    const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);
    const label = () => {
      get("theme").textContent = isDark() ? "☀ Light" : "☾ Dark";
      get("theme").setAttribute("aria-label", isDark() ? "Light theme" : "Dark theme");
    };
    get("theme").addEventListener("click", () => {
      root.dataset.theme = isDark() ? "light" : "dark";
      label();
    });
    dark.addEventListener("change", label);
    label();
  }

  function note() {
    const left = data.n - model.samples.length;
    const origin = model.complete
      ? `Computed in this page in double precision, from the ${data.dtype} parameters of the network.`
      : "Numbers of the traced pass. The network is too large for this page to hold all of its weights: sums show those between some of its neurons.";
    const part =
      left > 0 ? ` It holds the first ${model.samples.length} of ${data.n} samples.` : "";
    return `${origin}${part} Colours go by the square root of a number's share of the largest.`;
  }

  function start() {
    const { sizes, activations, loss } = model.net;
    get("descent").hidden = !model.complete;
    get("summary").textContent = `${sizes.join("-")} · ${activations.join(", ")} · ${loss}`;
    get("step").max = steps.length - 1;
    if (model.samples.length > 1) {
      get("samples").hidden = false;
      const option = (value, text) => element("option", { value }, text);
      get("sample").append(
        ...model.samples.map((_, i) => option(i, `sample ${i}`)),
        option("mean", `mean of ${model.samples.length}`),
      );
      get("sample").addEventListener("change", (event) =>
        choose(event.target.value === "mean" ? "mean" : Number(event.target.value)),
      );
    }
    get("note").textContent = note();
    get("play").addEventListener("click", () => (state.timer ? pause() : play()));
    get("first").addEventListener("click", () => move(0));
    get("back").addEventListener("click", () => move(state.step - 1));
    get("forward").addEventListener("click", () => move(state.step + 1));
    get("last").addEventListener("click", () => move(steps.length - 1));
    get("step").addEventListener("input", (event) => move(Number(event.target.value)));
    get("speed").addEventListener("change", () => state.timer && play());
    document.addEventListener("keydown", keys);
    theme();
    let width = 0;
    new ResizeObserver(([entry]) => {
      if (Math.abs(entry.contentRect.width - width) < 1) return;
      width = entry.contentRect.width;
      drawing.build();
      paint();
    }).observe(get("drawing"));
    drawing.build();
    showAll();
  }

  start();
  return { model, steps, state };
})();
