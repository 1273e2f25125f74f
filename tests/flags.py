"""Flags as tests put them together: some for all, of which one gives others."""


def instead(words, *more):
    """The words with flags of `more` in place of the same flags among them: a command takes none twice."""
    given, kept, skip = {word.partition("=")[0] for word in more if str(word).startswith("--")}, [], False
    for word in map(str, words):
        if word.startswith("--"):
            skip = word.partition("=")[0] in given
        if not skip:
            kept.append(word)
    return [*kept, *more]
