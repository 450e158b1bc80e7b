"""Personal data and secrets in text: what they look like and where they stand.

Law: recognition follows from the text alone and is linear in its length. Nothing here keeps text.
"""
