"""From a request to a model's answer: memo, single flight, order by prefix, admission."""
