"""Operations, against what the shapes and the formulas say."""

import torch
import torch.nn.functional as F

from mman.utils.flop_count import FlopCount, OperationCount


def _counted(function):
    with FlopCount() as count:
        function()
    return count.total


def test_a_linear_layer_takes_three_products_of_its_size():
    x, w = torch.randn(5, 7, requires_grad=True), torch.randn(3, 7, requires_grad=True)
    product = 2 * 5 * 7 * 3
    assert _counted(lambda: F.linear(x, w)) == product
    assert _counted(lambda: F.linear(x, w).sum().backward()) == 3 * product


def test_attention_takes_two_products_forward_and_five_backward():
    """Backward: scores once more, and gradients of values, weights, queries and keys."""
    q, k, v = (torch.randn(2, 3, 17, 8, requires_grad=True) for _ in range(3))
    product = 2 * 2 * 3 * 17 * 17 * 8
    assert _counted(lambda: F.scaled_dot_product_attention(q, k, v)) == 2 * product

    def step():
        F.scaled_dot_product_attention(q, k, v).sum().backward()

    assert _counted(step) == 7 * product


def test_operations_are_counted_without_views_and_allocations():
    x, w = torch.randn(5, 7, requires_grad=True), torch.randn(3, 7, requires_grad=True)
    with OperationCount() as count:
        y = x.view(7, 5).t() @ w.t()
        torch.empty(5, 3)
        y.relu_().sum().backward()
    # A product, relu and sum; the gradient of 1, that of relu and two products.
    assert count.total == 3 + 4
