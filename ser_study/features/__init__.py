"Numbers from recordings and texts, and the store that keeps them."
