"""The shop's image: what goes into it, how it is built, and what is in it as an SBOM."""
