"""Large files from outside: by URL and digest, resumed where they broke off, verified before anything looks at them."""
