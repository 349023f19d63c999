"""Your own checks of training rows: functions under `@check`, run by `filter` (its check `own`) on every row.

A check gets the row (`messages`, `tools`, `metadata`, `outcome`, …; see schemas/row.schema.json) and returns what is
wrong with it, or None. With a `Fault` it can point at messages, which `filter.own: mask` needs.

    from distill.checks import check


    @check
    def is_short(row):
        return "answers at length" if len(row["messages"][-1]["content"]) > 2_000 else None
"""
