.PHONY: check test format catalogue docs evidence new

check:            ## what CI runs beside the tests
	ruff check . && ruff format --check . && mypy && python -m manyviews.app.pages --check

test:             ## all tests, with coverage
	pytest --cov=manyviews --cov-report=term

format:
	ruff format . && ruff check --fix .

catalogue:        ## write CATALOGUE.md and docs/systems from the source and the results
	python -m manyviews.app.pages

new:              ## make new NAME=my_method [FOLDER=contrast]: a method file and its test, to fill in
	python -m manyviews.app.new $(NAME) $(FOLDER)

docs:             ## build the site in site/: open site/index.html, no server needed (pip install -c constraints.txt -e '.[docs]')
	python -m mkdocs build --strict --quiet

evidence:         ## make evidence MINUTES=150: measure the claims that are missing or stale, in that time, then write the pages
	manyviews claim --all --stale --minutes $(or $(MINUTES),60) || true
	python -m manyviews.app.pages
