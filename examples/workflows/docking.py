"""Nested loops that fill a table of futures, which is passed on as one argument."""

import parsl_pool
from parsl_pool import Config, HighThroughputExecutor, python_app


@python_app
def dock(protein, ligand):
    return -(len(protein) * sum(map(ord, ligand)) % 97)


@python_app
def best(table):
    return min((score, protein, ligand) for protein, row in table.items() for ligand, score in row.items())


def main():
    with parsl_pool.load(Config([HighThroughputExecutor(max_workers_per_node=2)])):
        table = {
            protein: {ligand: dock(protein, ligand) for ligand in ("ATP", "NAD", "heme")}
            for protein in ("kinase", "globin")
        }
        print(best(table).result())


if __name__ == "__main__":
    main()
