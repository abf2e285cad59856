"""Kill -9 under load: what the clients were told must hold.

`storm` runs concurrent clients against a real broker process and kills it at
random moments; `clients` write down in a `ledger` all they were told; `judge`
compares that with what came out in the end; `books` recounts the file's rows.
`python -m tests.crash --kills 200` runs it for as long as one likes.
"""
