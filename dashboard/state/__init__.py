"""What a page remembers: in the URL, in the browser and in caches. What it shows is in `components`."""
