.PHONY: check test format catalogue new

check:            ## what CI runs beside the tests
	ruff check . && ruff format --check . && mypy && python -m manyviews.app.catalogue --check

test:             ## all tests, with coverage
	pytest --cov=manyviews --cov-report=term

format:
	ruff format . && ruff check --fix .

catalogue:        ## write CATALOGUE.md from the source
	python -m manyviews.app.catalogue

new:              ## make new NAME=my_method [FOLDER=contrast]: a method file and its test, to fill in
	python -m manyviews.app.new $(NAME) $(FOLDER)
