"""The console: a page that draws the stack as it is, and breaks it on request.

    parts      each part of the stack asked in a way of its own, bounded by itself
    view       what was answered, as the page's data
    journal    what happened, in words; timeline: what clients saw, in steps of 100 ms
    errand     a load or a drill as a process of its own (worker: its inside)
    hub        the state of all that, and its changes, for whoever looks on
    server     HTTP on loopback, behind `access`

Not ops.console, which is how commands speak on a terminal.
"""
