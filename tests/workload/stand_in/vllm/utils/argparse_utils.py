"""The parser, which here takes every option."""

import argparse


class FlexibleArgumentParser(argparse.ArgumentParser):
    """Reads the options that it knows, and passes over the rest."""

    def parse_args(self, args=None, namespace=None):
        return self.parse_known_args(args, namespace)[0]
