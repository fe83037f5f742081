"""Methods x K x seeds under one recipe: trained, predicted, timed, and put into one table."""
