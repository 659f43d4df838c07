"""Groups and owners of assets, in one place."""

DATA_PLATFORM = "team:data-platform"
NLP = "team:nlp"
QUANT = "team:quant-research"
