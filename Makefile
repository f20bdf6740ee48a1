# `make oracle`: h5port against genuine Kerases in an environment of their own. ONLY=Conv2D runs one class;
# SEED, VARIANTS, LAYERS, GRAPHS and MUTANTS say which draws and how many.
.PHONY: oracle
oracle:
	sh scripts/oracle.sh $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED)) $(if $(GRAPHS),--graphs $(GRAPHS)) \
		$(if $(VARIANTS),--variants $(VARIANTS)) $(if $(LAYERS),--layers $(LAYERS)) $(if $(MUTANTS),--mutants $(MUTANTS))
