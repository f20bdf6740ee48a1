# `make oracle`: h5port against genuine Kerases in an environment of their own. ONLY=Conv2D runs one class;
# SEED, VARIANTS, LAYERS, GRAPHS and MUTANTS say which draws and how many.
.PHONY: oracle
oracle:
	sh scripts/oracle.sh $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED)) $(if $(GRAPHS),--graphs $(GRAPHS)) \
		$(if $(VARIANTS),--variants $(VARIANTS)) $(if $(LAYERS),--layers $(LAYERS)) $(if $(MUTANTS),--mutants $(MUTANTS))

# `make bench`: writes benchmarks/results.json and the plots; FULL=1 takes models of gigabytes, ONLY=speed one section.
.PHONY: bench
bench:
	sh scripts/bench.sh $(if $(FULL),--full) $(if $(ONLY),--only $(ONLY)) $(if $(FOLDER),--folder $(FOLDER))
