"""Headlines about crypto markets: GDELT, Hacker News, RSS and Atom feeds, posts at X; and GDELT's daily tone."""
