"""The colours of figures and charts: Okabe and Ito's, which the colour-blind tell apart."""

from __future__ import annotations

# in an order in which neighbours differ in brightness too
OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7")
BLACK, YELLOW = "#000000", "#F0E442"  # their others: one is lost on a dark page, one on white paper
