// Draws the charts of a page from the JSON beside each canvas. Text is inserted as text, not HTML.
"use strict";
(() => {
  const STYLES = {
    dots: { pointRadius: 3, showLine: false },
    circles: { pointRadius: 5, showLine: false },
    crosses: { pointRadius: 4, pointStyle: "crossRot", borderWidth: 1.5, showLine: false },
    stars: { pointRadius: 8, pointStyle: "star", borderWidth: 2, showLine: false },
    diamond: { pointRadius: 8, pointStyle: "rectRot", borderWidth: 2, showLine: false,
      backgroundColor: "transparent" },
    steps: { pointRadius: 3, showLine: true, stepped: "before", borderWidth: 2 },
    stairs: { pointRadius: 0, showLine: true, stepped: "before", borderWidth: 2 },
    line: { pointRadius: 2, showLine: true, borderWidth: 2 },
  };

  // vertical bars of one standard deviation, and a dotted line at the target
  const extras = {
  // error bars of one standard deviation, and dotted vertical lines, such as the target
    afterDatasetsDraw(chart) {
      const { ctx, scales: { x, y }, chartArea: area } = chart;
      ctx.save();
      ctx.beginPath();
      ctx.rect(area.left, area.top, area.width, area.height);
      ctx.clip();
      for (const [index, dataset] of chart.data.datasets.entries()) {
        if (!chart.isDatasetVisible(index)) continue;
        ctx.strokeStyle = dataset.borderColor;
        ctx.lineWidth = 1;
        for (const point of dataset.data) {
          if (!point.error) continue;
          const place = x.getPixelForValue(point.x);
          ctx.beginPath();
          ctx.moveTo(place, y.getPixelForValue(point.y - point.error));
          ctx.lineTo(place, y.getPixelForValue(point.y + point.error));
          ctx.stroke();
        }
      }
      for (const mark of chart.options.plugins.extras.marks) {
        const place = x.getPixelForValue(mark);
        ctx.strokeStyle = "#222";
        ctx.lineWidth = 1.5;
        ctx.setLineDash([3, 4]);
        ctx.beginPath();
        ctx.moveTo(place, area.top);
        ctx.lineTo(place, area.bottom);
        ctx.stroke();
      }
      ctx.restore();
    },
  };

  const element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };

  const number = (value) => Number(value.toPrecision(4)).toLocaleString("en-US",
    { maximumFractionDigits: 6 });

  function datasets(spec) {
    return spec.series.map((series) => ({
      label: series.name,
      borderColor: series.colour,
      backgroundColor: series.colour,
      pointHoverRadius: 7,
      pointHitRadius: 6,
      ...STYLES[series.style],
      all: series.points.map(([x, y, error, network]) => ({ x, y, error, network })),
      data: [],
    }));
  }

  // keeps the points whose networks are within all limits that the user has typed
  function filter(chart, networks, limits) {
    const kept = (point) => {
      const network = networks[point.network];
      return !network || limits.every(({ name, scale, most, input }) => {
        const limit = parseFloat(input.value);
        const value = network.numbers[name] * scale;
        return Number.isNaN(limit) || Number.isNaN(value)
          || (most ? value <= limit : value >= limit);
      });
    };
    for (const dataset of chart.data.datasets) dataset.data = dataset.all.filter(kept);
    chart.update("none");
  }

  function show(panel, network) {
    panel.replaceChildren(element("h3", network.title));
    const cards = element("div", undefined, "cards");
    for (const [value, what] of network.figures) {
      const card = element("div", undefined, "card");
      card.append(element("b", value), element("span", what));
      cards.append(card);
    }
    panel.append(cards);
    for (const [colour, width, text] of network.stages) {
      const row = element("div", undefined, "stage");
      const bar = element("div", undefined, "bar");
      bar.style.width = `${width}px`;
      bar.style.background = colour;
      row.append(bar, element("span", text));
      panel.append(row);
    }
    if (network.json) {
      const details = element("details");
      const save = element("a", `Save as ${network.file}`);
      save.download = network.file;
      save.href = `data:application/json;charset=utf-8,${encodeURIComponent(network.json)}`;
      details.append(element("summary", "The network as JSON"), element("pre", network.json));
      const saved = element("p", undefined, "note");
      saved.append(save);
      panel.append(details, saved);
    }
    if (network.commands.length) {
      const saved = network.commands.some((command) => command.includes(network.file));
      const where = saved ? "of the saved file" : "of the run";
      panel.append(element("p", `Run in the folder ${where}:`, "note"));
      panel.append(element("pre", network.commands.join("\n")));
    }
  }

  function options(spec, networks, choose) {
    const axis = ({ label, log, least, whole }) => ({
      type: log ? "logarithmic" : "linear",
      ticks: whole ? { precision: 0 } : {},
      min: least ?? undefined,
      title: { display: true, text: label },
    });
    const titled = ([item]) => networks[item.raw.network]?.title ?? item.dataset.label;
    const described = ({ raw }) => `${number(raw.x)}, ${number(raw.y)}`
      + (raw.error ? ` ± ${number(raw.error)}` : "");
    return {
      animation: false,
      maintainAspectRatio: false,
      interaction: { mode: "nearest", intersect: true },
      scales: { x: axis(spec.x), y: axis(spec.y) },
      onClick: (_event, [hit], chart) => {
        if (hit) choose(chart.data.datasets[hit.datasetIndex].data[hit.index].network);
      },
      plugins: {
        legend: { position: "bottom", labels: { usePointStyle: true, boxHeight: 7 } },
        tooltip: { displayColors: false, callbacks: { title: titled, label: described } },
        zoom: {
          zoom: { mode: "xy", drag: { enabled: true }, pinch: { enabled: true },
            wheel: { enabled: true, modifierKey: "ctrl" } },
        },
        extras: { marks: spec.marks },
      },
    };
  }

  function draw(holder) {
    const spec = JSON.parse(holder.querySelector("script").textContent);
    const panel = holder.querySelector(".network");
    const list = holder.querySelector("select");
    const choose = (index) => {
      if (index === null || index === undefined || !panel) return;
      show(panel, spec.networks[index]);
      list.value = String(index);
    };
    const chart = new Chart(holder.querySelector("canvas"), {
      type: "scatter",
      data: { datasets: datasets(spec) },
      options: options(spec, spec.networks, choose),
      plugins: [extras],
    });
    const limits = [...holder.querySelectorAll("input[data-limit]")].map((input) => (
      { name: input.dataset.limit, scale: Number(input.dataset.scale),
        most: input.dataset.kind === "most", input }));
    const refilter = () => filter(chart, spec.networks, limits);
    for (const { input } of limits) input.addEventListener("input", refilter);
    holder.querySelector("button").addEventListener("click", () => chart.resetZoom());
    refilter();
    if (panel) {
      list.addEventListener("change", () => choose(Number(list.value)));
      choose(spec.chosen);
    }
  }

  document.querySelectorAll("[data-chart]").forEach(draw);
})();
