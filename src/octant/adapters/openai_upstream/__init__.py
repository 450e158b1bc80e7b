"""OpenAI-compatible servers as providers: any server that streams chat completions or completions.

    ModelWork -> wire (JSON) -> exchange (HTTP) -> sse (events) -> chunks (StreamItems)

Law: foreign errors end in `failures`, no words of an upstream but its answer reach callers, and
only an answer whose every choice has finished and whose stream said [DONE] is complete.
"""
