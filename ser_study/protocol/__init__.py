"Splits, the audit of what their sides share, class balance, dialogues and fusion."
