"""Two kinds of pictures, as SVG that can be read on white and on dark."""
import html
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 400, 80, 190, 48, 56
COLOURS = ["#d9480f", "#1971c2", "#7048e8", "#2f9e44", "#c2255c", "#868e96"]
STYLE = "text{font:13px sans-serif;fill:#6c757d}@media(prefers-color-scheme:dark){text{fill:#adb5bd}}"


def text(x, y, words, anchor="start", more=""):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" {more}>{html.escape(words)}</text>'


def rule(x1, y1, x2, y2, colour="#adb5bd", width=0.5):
    return f'<line x1="{x1:.0f}" y1="{y1:.0f}" x2="{x2:.0f}" y2="{y2:.0f}" stroke="{colour}" stroke-width="{width}"/>'


def write(path, width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"><style>{STYLE}</style>'
    path.write_text("\n".join([head, *parts, "</svg>", ""]))


def decades(values):
    return range(math.floor(math.log10(min(values))), math.ceil(math.log10(max(values))) + 1)


def lines(path, title, across, up, series, labels=()):
    """{name: [(x, y)]}, both axes logarithmic; labels: {x: what it is called}, where not as a number."""
    points = [point for line in series.values() for point in line]
    xs, ys = sorted({x for x, _ in points}), decades([y for _, y in points])
    first, last = math.log10(xs[0]), math.log10(xs[-1])

    def at(x, y):
        return (LEFT + (math.log10(x) - first) / (last - first) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (math.log10(y) - ys[0]) / (ys[-1] - ys[0]) * (HEIGHT - TOP - BOTTOM))

    parts = [text(LEFT, 24, title, more='font-weight="bold"'), text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, across, "middle"),
             text(LEFT - 8, TOP - 10, up, "end")]
    for power in ys:
        _, y = at(xs[0], 10 ** power)
        parts += [rule(LEFT, y, WIDTH - RIGHT, y), text(LEFT - 8, y + 4, f"{10 ** power:,}", "end")]
    for x in xs:
        place, _ = at(x, 10 ** ys[0])
        parts += [rule(place, TOP, place, HEIGHT - BOTTOM), text(place, HEIGHT - BOTTOM + 18, labels[x] if x in labels else f"{x:,}", "middle")]
    for colour, (name, line) in zip(COLOURS, series.items()):
        places = [at(x, y) for x, y in line]
        track = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{track}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
    ends = sorted((at(*line[-1])[1], name, colour) for colour, (name, line) in zip(COLOURS, series.items()))
    below = -20.0
    for y, name, colour in ends:
        below = max(y + 4, below + 16)
        parts.append(text(WIDTH - RIGHT + 10, below, name, more=f'style="fill:{colour}"'))
    write(path, WIDTH, HEIGHT, parts)


def bars(path, title, unit, values, ours):
    """{name: value}, from zero; ours: the names that stand out."""
    row, left = 26, 230
    scale = (WIDTH - left - 80) / max(values.values())
    colours = {name: COLOURS[3] if name in ours else COLOURS[1] for name in values}
    parts = [text(16, 24, f"{title}, {unit}", more='font-weight="bold"'),
             text(WIDTH - 16, 24, "by way of proc9", "end", f'style="fill:{COLOURS[3]}"'),
             text(WIDTH - 136, 24, "without", "end", f'style="fill:{COLOURS[1]}"')]
    for i, (name, value) in enumerate(values.items()):
        y = TOP + i * row
        parts += [text(left - 10, y + 14, name, "end"), text(left + value * scale + 8, y + 14, f"{value:,.0f}"),
                  f'<rect x="{left}" y="{y}" width="{value * scale:.1f}" height="{row - 8}" rx="2" fill="{colours[name]}"/>']
    write(path, WIDTH, TOP + len(values) * row + 16, parts)
