// Draws world.svg, the map of the status page: `npm install && npm run build` in this directory.
//
// Run by developers only; what it writes is committed. Shapes are Natural Earth's at 1:50 million as packaged by
// world-atlas, simplified to what can be seen at the size of the page, in the Equal Earth projection: shading compares
// areas, so areas have to be true. Places that are too small to see, or have no shape of their own at this scale, are
// drawn as dots.

import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { geoArea, geoCentroid, geoEqualEarth, geoGraticule, geoPath } from "d3-geo";
import { feature } from "topojson-client";
import { presimplify, simplify, sphericalTriangleArea } from "topojson-simplify";

const require = createRequire(import.meta.url);
const iso = require("i18n-iso-countries");
const atlas = JSON.parse(readFileSync(require.resolve("world-atlas/countries-50m.json")));

// Units of the drawing; the page shows about ten of them in a pixel, so whole numbers are exact enough.
const WIDTH = 10_000;
// Steradians of the smallest triangle that is kept: about a quarter of a square pixel.
const DETAIL = 7e-6;
// Below this area in square units a country gets a dot as well.
const DOT_BELOW = 900;
const DOT_RADIUS = 26;

// What has a code of its own, but no shape at this scale: longitude, latitude.
const WITHOUT_SHAPE = {
  BQ: [-68.26, 12.18], BV: [3.36, -54.42], CC: [96.83, -12.17], CX: [105.63, -10.49], GF: [-53.1, 3.9],
  GI: [-5.35, 36.14], GP: [-61.55, 16.25], MQ: [-61.02, 14.64], RE: [55.53, -21.11], SJ: [17.5, 78.6],
  TK: [-171.85, -9.2], TV: [179.2, -8.52], UM: [-160.03, -0.37], YT: [45.17, -12.83],
};
// Its number is user-assigned, so the atlas has it by name only.
const BY_NAME = { Kosovo: "XK" };

const detailed = presimplify(atlas, sphericalTriangleArea);
const topology = simplify(detailed, DETAIL);
const countries = feature(topology, topology.objects.countries).features;
const originals = feature(atlas, atlas.objects.countries).features;

const code = (country) => BY_NAME[country.properties.name] ?? iso.numericToAlpha2(country.id ?? "");
const shown = countries.filter((country) => code(country) !== "AQ");

// A little east of Greenwich, so that no country of size is cut in two.
const projection = geoEqualEarth().rotate([-11, 0]);
const frame = { type: "FeatureCollection", features: shown };
projection.fitWidth(WIDTH, frame);
const path = geoPath(projection).digits(0);
const [[left, top], [right, bottom]] = path.bounds(frame);
const number = (value) => String(Math.round(value));

// Absolute whole numbers as relative ones, which are half as long; rings that have shrunk to a line are left out.
const short = (line) =>
  line
    .split("M")
    .filter(Boolean)
    .map((ring) => {
      const closed = ring.endsWith("Z");
      const points = ring.replace("Z", "").split("L").map((point) => point.split(",").map(Number));
      const [first, ...rest] = points.filter(([x, y], i) => i === 0 || x !== points[i - 1][0] || y !== points[i - 1][1]);
      if (closed && rest.length < 2) return "";
      let [x, y] = first;
      const steps = rest.map(([toX, toY]) => {
        const step = `${toX - x} ${toY - y}`.replace(" -", "-");
        [x, y] = [toX, toY];
        return step;
      });
      const joined = steps.map((step, i) => (i > 0 && !step.startsWith("-") ? " " : "") + step).join("");
      return `M${first[0]} ${first[1]}l${joined}${closed ? "z" : ""}`;
    })
    .join("");

const shapes = new Map();
const unclaimed = [];
for (const country of shown) {
  const line = short(path(country) ?? "");
  if (!line) continue;
  const key = code(country);
  // Places that are administered without a code belong to nobody on this map: they are drawn as plain land.
  if (key) shapes.set(key, (shapes.get(key) ?? "") + line);
  else unclaimed.push(line);
}

// Where marks go: the middle of the largest part, so that France is in France and the United States are not in Canada.
const middle = (country) => {
  const { type, coordinates } = country.geometry;
  const parts = type === "MultiPolygon" ? coordinates : [coordinates];
  const polygon = (part) => ({ type: "Polygon", coordinates: part });
  const largest = parts.map(polygon).sort((a, b) => geoArea(b) - geoArea(a))[0];
  return projection(geoCentroid(largest));
};

const middles = new Map();
const dots = [];
for (const country of originals) {
  const key = code(country);
  if (!key || key === "AQ" || middles.has(key)) continue;
  middles.set(key, middle(country));
  if (path.area(country) < DOT_BELOW) dots.push(key);
}
for (const [key, place] of Object.entries(WITHOUT_SHAPE)) {
  middles.set(key, projection(place));
  dots.push(key);
}

const at = (key) => {
  const [x, y] = middles.get(key);
  return `data-x="${number(x)}" data-y="${number(y)}"`;
};
const lines = [];
const view = [left, top, right - left, bottom - top].map(number).join(" ");
lines.push(`<svg id="map" viewBox="${view}" role="group" aria-label="World map of where data went" xmlns="http://www.w3.org/2000/svg">`);
const hatch = (id) => `<pattern id="${id}" width="60" height="60" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="hatch-line" width="20" height="60"/></pattern>`;
lines.push(`<defs>${hatch("hatch")}${hatch("hatch-dark")}</defs>`);
lines.push(`<path class="graticule" d="${short(path(geoGraticule().step([30, 30])()))}"/>`);
lines.push(`<path class="land" d="${unclaimed.join("")}"/>`);
lines.push(`<g id="countries">`);
for (const [key, line] of [...shapes].sort()) {
  lines.push(`<path class="country" id="m-${key}" ${at(key)} d="${line}"/>`);
}
lines.push(`</g>`);
lines.push(`<g id="dots">`);
for (const key of dots.sort()) {
  const [x, y] = middles.get(key);
  const id = shapes.has(key) ? `d-${key}` : `m-${key}`;
  lines.push(`<circle class="dot" id="${id}" data-for="${key}" ${at(key)} cx="${number(x)}" cy="${number(y)}" r="${DOT_RADIUS}"/>`);
}
lines.push(`</g>`);
lines.push(`<g id="marks"></g>`);
lines.push(`</svg>`);
writeFileSync(new URL("world.svg", import.meta.url), lines.join("\n") + "\n");

const missing = Object.keys(iso.getAlpha2Codes()).filter((key) => !middles.has(key));
console.log(`${shapes.size} shapes, ${dots.length} dots, viewBox ${view}, not on the map: ${missing.join(" ")}`);
