"""A trained learner as a classifier or regressor of scikit-learn: one's own support set, one's own queries."""
