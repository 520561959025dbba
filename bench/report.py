"""One table of ratios from the results."""

TARGETS = (  # start of the row's name, what is compared, the target
    ("publish, ", "bare", 0.9),
    ("publish_batch", "bare", 0.9),
    ("drain", "pgq", 1.0),
    ("order per key", "pgq", 1.0),
)


def number(value):
    if value in (None, ""):
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


def ratio(cell, other):
    if other not in cell or not cell[other]["per_second"]:
        return ""
    return f"{cell['pg_saga']['per_second'] / cell[other]['per_second']:.2f}"


def target_of(name):
    if "inserts a row" in name:
        return "0.70 of bare"
    for start, other, least in TARGETS:
        if name.startswith(start) and "one by one" not in name:
            return f"{least:.2f} of {'PgQ' if other == 'pgq' else other}"
    return ""


def rate_rows(results):
    for name, cell in results.items():
        if "per_second" not in cell.get("pg_saga", {}) or name == "costs":
            continue
        rate = {system: figures["per_second"] for system, figures in cell.items()}
        note = target_of(name)
        if "violations" in cell["pg_saga"]:
            note += f", {cell['pg_saga']['violations']} violations"
        yield (name, number(rate["pg_saga"]), number(rate.get("bare")), number(rate.get("pgq")),
               ratio(cell, "bare"), ratio(cell, "pgq"), note)


def costs_of(name, cell, key, label):
    """One row: the same figure of all systems."""
    figures = [cell.get(system, {}).get(key, "") for system in ("pg_saga", "bare", "pgq")]
    return (f"{label}, {name}", *map(number, figures), "")


def other_rows(results):
    for name, cell in results.items():
        ours, pgq = cell.get("pg_saga", {}), cell.get("pgq", {})
        if name.startswith("publish") and "wal_bytes" in ours:
            yield costs_of(name, cell, "cpu_us", "processor us per event")
            yield costs_of(name, cell, "wal_bytes", "WAL bytes per event")
        if "published_wal_bytes" in ours:
            yield costs_of("drain", cell, "processed_cpu_us", "processor us per event")
            yield costs_of("drain", cell, "processed_wal_bytes", "WAL bytes per event")
            yield costs_of("all tables and indexes", cell, "disk_bytes", "disk MB per million events")
        if "inserts a row" in name:
            yield costs_of("handler inserts a row", cell, "xids_per_million", "transaction ids per million events")
        if "p50_ms" in ours:
            yield name + ", P50 / P99 / max ms", f"{ours['p50_ms']} / {ours['p99_ms']} / {ours['max_ms']}", "", "", "0.2 / 1.0"
        if "last_over_first" in ours:
            yield name + ", last / first rate", ours["last_over_first"], "", pgq.get("last_over_first", ""), "0.97"
            yield costs_of(name, cell, "last_per_second", "events per second at the end")
            yield name + ", dead tuples", ours["dead_tuples"], "", pgq.get("dead_tuples", ""), "below 1,000"


def table(head, rows):
    """A Markdown table whose columns line up."""
    grid = [tuple(map(str, head))] + [tuple(map(str, row)) for row in rows]
    widths = [max(len(row[i]) for row in grid) for i in range(len(head))]
    lines = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in grid]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def markdown(results, environment):
    about = "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in environment.items())
    parts = [about, table(("events per second", "pg_saga", "bare", "PgQ", "to bare", "to PgQ", "target"), rate_rows(results)),
             table(("other", "pg_saga", "bare", "PgQ", "target"), other_rows(results))]
    return "\n\n".join(parts) + "\n"
