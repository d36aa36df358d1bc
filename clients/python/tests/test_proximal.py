import numpy as np
from qres import proximal_gradient, proximal_term


def weights(*values):
    return {"w": np.array(values[:2]), "b": np.array(values[2])}


def test_the_term_worked_by_hand():
    # 0.5 / 2 * (1 + 4 + 9)
    assert proximal_term(weights(1.0, 2.0, 3.0), weights(0.0, 0.0, 0.0), 0.5) == 3.5
    assert proximal_term(weights(1.0, 2.0, 3.0), weights(1.0, 2.0, 3.0), 0.5) == 0


def test_the_gradient_is_the_term_s_slope():
    params, reference, mu, h = weights(0.3, -1.2, 2.0), weights(1.0, 0.5, -0.25), 0.7, 1e-6
    gradient = proximal_gradient(params, reference, mu)
    for name, index in [("w", (0,)), ("w", (1,)), ("b", ())]:
        up = {n: p.copy() for n, p in params.items()}
        down = {n: p.copy() for n, p in params.items()}
        up[name][index] += h
        down[name][index] -= h
        slope = (proximal_term(up, reference, mu) - proximal_term(down, reference, mu)) / (2 * h)
        assert abs(gradient[name][index] - slope) < 1e-6
    assert params["w"].tolist() == [0.3, -1.2], "nothing is changed in place"


def test_float32_stays_float32():
    params = {"w": np.ones(2, "f4")}
    assert proximal_gradient(params, params, 0.1)["w"].dtype == np.float32
