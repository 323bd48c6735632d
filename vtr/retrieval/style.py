"""How a report looks: one style sheet for phones and desks, for light and dark."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #16191d; --soft: #5b6470; --line: #dfe3e8;
  --a: #0b63c5; --b: #c2500c; --good: #15803d; --warn: #fff3d1; --warn-text: #6b4a00; --warn-line: #e5b94a; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1216; --card: #181c22; --text: #e8ebef; --soft: #9aa4b1;
  --line: #2c333c; --a: #6cb0ff; --b: #ff9a5c; --good: #4ade80; --warn: #3a2f12; --warn-text: #ffdf8f;
  --warn-line: #7a6220; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 56px; }
header { margin-bottom: 16px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 32px 0 10px; }
p { margin: 0 0 8px; }
.soft, caption, .legend, dt, figcaption { color: var(--soft); font-size: .875rem; }
.mono { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, monospace; font-size: .8125rem; overflow-wrap: anywhere; }
.partial { background: var(--warn); color: var(--warn-text); border: 1px solid var(--warn-line); border-radius: 8px;
  padding: 10px 14px; font-weight: 600; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px; }
.tiles { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); margin: 16px 0; }
.tile .number { font-size: 1.7rem; font-weight: 650; line-height: 1.2; font-variant-numeric: tabular-nums; }
.tile .soft { font-size: .8125rem; }
.pair { display: grid; gap: 12px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 7px 10px; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: 9.5rem; padding-left: 0; }
tbody tr:last-child td { border-bottom: 0; }
thead th { color: var(--soft); font-weight: 600; font-size: .875rem; }
td small { display: block; color: var(--soft); font-size: .75rem; }
tr.theirs { font-style: italic; }
@media (max-width: 640px) { table { font-size: .9375rem; } th, td { padding: 6px 0 6px 8px; white-space: normal; }
  th:first-child, td:first-child { min-width: 5.5rem; } }
ul.notes { margin: 10px 0 0; padding-left: 18px; color: var(--soft); font-size: .875rem; overflow-wrap: anywhere; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font-size: 12.5px; }
@media (max-width: 640px) { svg text { font-size: 15px; } }
.grid { stroke: var(--line); }
.line { fill: none; stroke-width: 2.5; stroke-linejoin: round; }
.line.s0 { stroke: var(--a); } .line.s1 { stroke: var(--b); stroke-dasharray: 7 4; }
.dot.s0, .bar.s0 { fill: var(--a); } .dot.s1, .bar.s1 { fill: var(--b); }
.legend { margin: 4px 0 0; display: flex; gap: 18px; flex-wrap: wrap; }
.key::before { content: ""; display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; }
.key.s0::before { background: var(--a); } .key.s1::before { background: var(--b); }
.examples { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); }
.example > p { overflow-wrap: anywhere; }
.example .rank { float: right; margin: 0 0 4px 10px; font-weight: 650; color: var(--soft); }
ol.found { list-style: none; margin: 8px 0 0; padding: 0; display: grid; gap: 8px; }
ol.found li, .asked { display: grid; gap: 3px; border-left: 4px solid var(--line); padding-left: 8px; min-width: 0; }
ol.found li.right { border-left-color: var(--good); }
.example img { display: block; width: auto; max-width: 100%; height: auto; border-radius: 4px;
  background: var(--line); }
.what { display: flex; justify-content: space-between; gap: 8px; font-size: .8125rem; color: var(--soft); }
.what span:first-child { overflow-wrap: anywhere; }
.right .what span:first-child { color: var(--good); font-weight: 600; }
.map { display: grid; gap: 12px 20px; grid-template-columns: minmax(0, 460px) minmax(0, 1fr); align-items: start; }
@media (max-width: 640px) { .map { grid-template-columns: minmax(0, 1fr); } }
.map img { width: 100%; image-rendering: pixelated; display: block; border-radius: 4px; }
.scale { display: grid; grid-template-columns: auto 1fr auto; gap: 8px; align-items: center; font-size: .8125rem;
  font-variant-numeric: tabular-nums; }
.scale img { height: 12px; }
dl { display: grid; grid-template-columns: minmax(7rem, auto) minmax(0, 1fr); gap: 6px 16px; margin: 0; }
dt { padding-top: 1px; } dd { margin: 0; overflow-wrap: anywhere; }
"""
