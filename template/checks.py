"""Your own checks of training rows: functions under `@check`, run by `filter` (its check `own`) on every row.

A check gets the row (`messages`, `tools`, `metadata`, `outcome`, …; see schemas/row.schema.json) and returns what is
wrong with it, or None. For `filter.own: mask` it returns `Fault("is rude", ("/messages/4",))`, which points at messages.

    from distill.checks import Fault, check


    @check
    def is_short(row):
        return "answers at length" if len(row["messages"][-1]["content"]) > 2_000 else None
"""
