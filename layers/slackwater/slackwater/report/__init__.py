"""The run report: one self-contained page of HTML from a receipt and a few sums. Pure: values in, text out."""
