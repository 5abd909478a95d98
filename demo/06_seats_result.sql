SELECT cfp_get_values('show 42', 'seats') AS seats;
