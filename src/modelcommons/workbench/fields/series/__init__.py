"""series: forecasting of one or many regular time series."""
