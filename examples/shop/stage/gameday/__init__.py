"""Game days: experiments as data, held on a running shop, with a record of what happened."""
