"""The functions of the module config: each name that a call may have as its target.

`model.py` is printed from this text: a function whose body is one `return` is written out where it is called,
every other one is pasted. So each has only positional inputs (tensors, modules, lists of tensors), then
keyword-only arguments (numbers, strings, lists of them), and uses nothing but torch and its neighbours here.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

# ---- types and shapes


def cast(x, *, to):
    return x.to(to)


def flatten(x):
    return x.flatten(1)


def reshape(x, *, dims):
    return x.reshape(x.shape[0], *dims)


def reshape_whole(x, *, dims):
    return x.reshape(dims)


def constant(like, *, value, dtype):
    return torch.tensor(value, dtype=dtype, device=like.device)


def permute(x, *, dims):
    return x.permute(dims)


def transpose(x, *, dim0, dim1):
    return x.transpose(dim0, dim1)


def movedim(x, *, source, to):
    return x.movedim(source, to)


def unsqueeze(x, *, dim):
    return x.unsqueeze(dim)


def flip(x, *, dim):
    return x.flip(dim)


def repeat_vector(x, *, n):
    return x.unsqueeze(1).expand(-1, n, -1)


def repeat_steps(x, *, repeats):
    return x.repeat_interleave(repeats, 1)


def crop_steps(x, *, before, after):
    return x[:, before : x.shape[1] - after]


def concatenate(tensors, *, dim):
    return torch.cat(tensors, dim)


def join_batch_and_time(x):
    return x.flatten(0, 1)


def split_batch_and_time(y, like):
    return y.reshape(like.shape[0], like.shape[1], *y.shape[1:])


def join_leading(x, *, keep):
    return x.flatten(0, x.dim() - keep - 1)


def split_leading(y, like, *, keep):
    return y.reshape(*like.shape[: like.dim() - keep], *y.shape[1:])


def join_features(x, *, keep):
    return x.flatten(-keep).flatten(0, -2)


def reshape_as(y, like):
    return y.reshape(like.shape)


# ---- arithmetic


def add(x, y):
    return x + y


def subtract(x, y):
    return x - y


def multiply(x, y):
    return x * y


def maximum(x, y):
    return torch.maximum(x, y)


def minimum(x, y):
    return torch.minimum(x, y)


def average(tensors):
    return sum(tensors[1:], tensors[0]) / len(tensors)


def not_equal(x, y):
    return x != y


def weighted_mean(x, weights, *, dim):
    return (x * weights).sum(dim) / weights.expand_as(x).sum(dim)


def tensordot(x, y, *, axes):
    return torch.tensordot(x, y, axes)


def einsum(x, y, *, equation):
    return torch.einsum(equation, x, y)


def l2_normalize(x, *, dim, floor):
    return x / x.square().sum(dim, keepdim=True).sqrt().clamp_min(floor)


def cosine(product, left, right, *, epsilon):
    return product / (left * right).sqrt().clamp_min(epsilon)


def max_of_blocks(x, *, blocks):
    return x.unflatten(-1, (blocks, -1)).amax(-2)


def highway(gate, changed, x):
    return gate * changed + (1 - gate) * x


def max_over(x, *, dim, keepdim):
    return x.amax(dim, keepdim=keepdim)


def mean_over(x, *, dim, keepdim):
    return x.mean(dim, keepdim=keepdim)


# ---- activations


def identity(x):
    return x


def relu(x):
    return torch.relu(x)


def relu6(x):
    return F.relu6(x)


def sigmoid(x):
    return torch.sigmoid(x)


def tanh(x):
    return torch.tanh(x)


def softmax(x, *, dim):
    return torch.softmax(x, dim)


def softmax_axes(x, *, dims):
    return (x - torch.logsumexp(x, dims, keepdim=True)).exp()


def log_softmax(x, *, dim):
    return torch.log_softmax(x, dim)


def softplus(x):
    return F.softplus(x)


def softsign(x):
    return F.softsign(x)


def elu(x, *, alpha):
    return F.elu(x, alpha)


def selu(x):
    return F.selu(x)


def celu(x, *, alpha):
    return F.celu(x, alpha)


def gelu(x):
    return F.gelu(x)


def silu(x):
    return F.silu(x)


def mish(x):
    return F.mish(x)


def exp(x):
    return torch.exp(x)


def leaky_relu(x, *, negative_slope):
    return F.leaky_relu(x, negative_slope)


def hard_silu(x):
    return F.hardswish(x)


def hard_tanh(x):
    return F.hardtanh(x)


def hard_shrink(x, *, lambd):
    return F.hardshrink(x, lambd)


def soft_shrink(x, *, lambd):
    return F.softshrink(x, lambd)


def tanh_shrink(x):
    return F.tanhshrink(x)


def log_sigmoid(x):
    return F.logsigmoid(x)


def squareplus(x, *, b):
    return (x + (x.square() + b).sqrt()) / 2


def glu(x, *, dim):
    return F.glu(x, dim)


def sparse_sigmoid(x):
    return ((x + 1) / 2).clamp(0, 1)


def hard_sigmoid(x):
    return F.hardsigmoid(x)


def hard_sigmoid_fifth(x):
    """hard_sigmoid as Keras before version 3 has it: slope 0.2, not 1/6."""
    return (0.2 * x + 0.5).clamp(0, 1)


def threshold(x, *, theta):
    return F.threshold(x, theta, 0)


def threshold_magnitude(x, *, theta):
    return torch.where(x.abs() > theta, x, 0)


def sparse_plus(x):
    """0 up to -1, x from 1 on, a parabola between."""
    return torch.where(x <= -1, 0, torch.where(x < 1, (x + 1).square() / 4, x))


def sparsemax(x):
    """As Keras computes it: the threshold is taken from the sum of running sums over the support."""
    ordered = x.sort(dim=-1, descending=True).values
    sums = ordered.cumsum(-1)
    ranks = torch.arange(1, x.shape[-1] + 1, dtype=x.dtype, device=x.device)
    support = ordered - (sums - 1) / ranks > 0
    threshold = (torch.where(support, sums, 0).sum(-1, keepdim=True) - 1) / support.sum(-1, keepdim=True)
    return (x - threshold).clamp_min(0)


def keras_relu(x, *, negative_slope, max_value, threshold):
    """Keras' relu with all its options: x above the threshold up to a ceiling, a slope below it."""
    below = negative_slope * (x - threshold) if negative_slope else 0
    y = torch.where(x > threshold, x, below)
    return y if max_value is None else y.clamp_max(max_value)


# ---- masks


def not_equal_to(x, *, value):
    return x != value


def any_differs(x, *, value):
    return (x != value).any(-1)


def zero_masked(x, mask):
    return x * mask.unsqueeze(-1).to(x.dtype)


def logical_and(x, y):
    return x & y


def logical_or(x, y):
    return x | y


def ones_like(x, *, dtype):
    return torch.ones_like(x, dtype=dtype)


def zeros_like(x, *, dtype):
    return torch.zeros_like(x, dtype=dtype)


def any_over(x, *, dim, keepdim):
    return x.any(dim, keepdim=keepdim)


def steps_valid(x, *, dims):
    return torch.ones(x.shape[:dims], dtype=torch.bool, device=x.device)


def masked_multiply(inputs):
    """The product of (tensor, mask) pairs: a masked step counts as 1; where all are masked the product is 0."""
    product = 1
    for x, mask in inputs:
        product = product * (x if mask is None else torch.where(mask.unsqueeze(-1), x, 1))
    masks = [mask for _, mask in inputs]
    if any(mask is None for mask in masks):
        return product
    return torch.where(torch.stack(masks).any(0).unsqueeze(-1), product, 0)


def masked_extreme(inputs, choose):
    """`choose` over (tensor, mask) pairs in turn: a masked step gives way to the other side's."""
    y, y_mask = inputs[0]
    for x, mask in inputs[1:]:
        x = x if mask is None else torch.where(mask.unsqueeze(-1), x, y)
        y = choose(y if y_mask is None else torch.where(y_mask.unsqueeze(-1), y, x), x)
        y_mask = None if mask is None or y_mask is None else y_mask | mask
    return y


def masked_maximum(inputs):
    return masked_extreme(inputs, torch.maximum)


def masked_minimum(inputs):
    return masked_extreme(inputs, torch.minimum)


def masked_mean(x, mask, *, dim, keepdim):
    """The mean of the valid steps; nan where a row has none, as in Keras."""
    mask = mask.to(x.dtype).unsqueeze(1 if dim == 2 else 2)
    return (x * mask).sum(dim, keepdim=keepdim) / mask.sum(dim, keepdim=keepdim)


def masked_softmax_add(x, mask, *, dims):
    """Softmax after a large negative number was added to masked places."""
    x = x + (1 - mask.to(x.dtype)) * -1e9
    if len(dims) == 1:
        return torch.softmax(x, dims[0])
    return (x - torch.logsumexp(x, dims, keepdim=True)).exp()


def masked_softmax_where(x, mask, *, dims):
    """Softmax over the places that are not masked; zero where there are none."""
    x = torch.where(mask, x, torch.finfo(x.dtype).min)
    return torch.where(mask, (x - torch.logsumexp(x, dims, keepdim=True)).exp(), 0)


# ---- convolution and pooling


def pad_last(x, *, before, after):
    return F.pad(x, (before, after))


def same_padding(n, size, stride):
    """Keras' padding "same" along one axis: what to add before and after, the odd one after."""
    total = torch.sym_max((-(-n // stride) - 1) * stride + size - n, 0)
    return total // 2, total - total // 2


def pad_same(x, *, size, stride):
    """Zeros along the last axis as padding "same" wants them; `size` is the width of the (dilated) kernel."""
    return F.pad(x, same_padding(x.shape[-1], size, stride))


def cut_same(y, x, *, stride):
    """Theano pads both sides alike for padding "same" and cuts the end to ceil(n / stride) steps."""
    return y[..., : -(-x.shape[-1] // stride)]


def half_pool_padding(size):
    """What Theano's backend adds on both sides for a pooling window, padding "same" (pool2d of Keras 1.2.2)."""
    return size - 2 if size > 2 and size % 2 == 1 else size - 1


def max_pool_same_half(x, *, size, stride):
    """Max pooling with Theano's padding "same"."""
    pad = half_pool_padding(size)
    return cut_same(F.max_pool1d(F.pad(x, (pad, pad), value=float("-inf")), size, stride), x, stride=stride)


def average_pool_same_half(x, *, size, stride):
    """Average pooling with Theano's padding "same": the mean of the real steps alone."""
    pad = half_pool_padding(size)
    count = F.avg_pool1d(F.pad(torch.ones_like(x), (pad, pad)), size, stride)
    return cut_same(F.avg_pool1d(F.pad(x, (pad, pad)), size, stride) / count, x, stride=stride)


def max_pool_same_end(x, *, size, stride):
    """Max pooling with padding "same": the padding never wins."""
    return F.max_pool1d(F.pad(x, same_padding(x.shape[-1], size, stride), value=float("-inf")), size, stride)


def average_pool_same_end(x, *, size, stride):
    """Average pooling with padding "same": the mean of the real steps alone."""
    padding = same_padding(x.shape[-1], size, stride)
    count = F.avg_pool1d(F.pad(torch.ones_like(x), padding), size, stride)
    return F.avg_pool1d(F.pad(x, padding), size, stride) / count


# ---- recurrent layers


def rnn_outputs(rnn, x):
    return rnn(x)[0]


def last_step(y):
    return y[:, -1]


def last_steps(rnn, x):
    """The last step of each direction's own run: of the backward one that is step 0 in time."""
    forward, backward = rnn(x)[0].chunk(2, -1)
    return torch.cat((forward[:, -1], backward[:, 0]), -1)


def rnn_both_outputs(rnn, x):
    return rnn(x)[0].chunk(2, -1)


def both_last_steps(rnn, x):
    """The last step of each direction's own run: of the backward one that is step 0 in time."""
    forward, backward = rnn(x)[0].chunk(2, -1)
    return forward[:, -1], backward[:, 0]


def direction(rnn, reverse):
    """The weights of one direction of a torch recurrent module."""
    names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] if rnn.bias else ["weight_ih", "weight_hh"]
    return [getattr(rnn, f"{name}_l0{'_reverse' if reverse else ''}") for name in names]


def valid_first(x, mask):
    """The valid steps moved to the front; and for each step the place of the last valid one so far (-1: none)."""
    valid = mask.to(torch.int64)
    place = valid.cumsum(1) - 1
    target = torch.where(mask, place, place[:, -1:] + (1 - valid).cumsum(1))
    steps = torch.arange(x.shape[1], device=x.device).expand_as(target)
    order = torch.zeros_like(target).scatter(1, target, steps)
    return x.gather(1, order.unsqueeze(-1).expand(-1, -1, x.shape[-1])), place


def back_in_place(y, place, mask, zero_output, start):
    """Outputs at their own steps again: a masked step repeats the one before, or is zero; `start` comes first."""
    held = y.gather(1, place.clamp_min(0).unsqueeze(-1).expand(-1, -1, y.shape[-1]))
    if zero_output:
        return torch.where(mask.unsqueeze(-1), held, 0)
    before = 0 if start is None else start.unsqueeze(1)
    return torch.where((place >= 0).unsqueeze(-1), held, before)


def last_valid(y, place, initial):
    """The state after the last valid step; the initial state in rows that have none."""
    last = place[:, -1]
    state = y.gather(1, last.clamp_min(0)[:, None, None].expand(-1, 1, y.shape[-1])).squeeze(1)
    return torch.where((last < 0).unsqueeze(-1), initial, state)


def run_one(rnn, x, state, reverse):
    """One direction of nn.GRU or nn.RNN from an initial state."""
    run = torch.gru if isinstance(rnn, nn.GRU) else torch.rnn_relu if rnn.nonlinearity == "relu" else torch.rnn_tanh
    return run(x, state.unsqueeze(0), direction(rnn, reverse), rnn.bias, 1, 0.0, rnn.training, False, True)[0]


def run_gru(rnn, x, mask=None, state=None, *, reverse=False, zero_output=False, start_from_state=False):
    """nn.GRU or nn.RNN as Keras runs it: (outputs of all steps, final state). Masked steps hold the state."""
    initial = x.new_zeros(x.shape[0], rnn.hidden_size) if state is None else state[0]
    if mask is None:
        y = run_one(rnn, x, initial, reverse)
        return y, y[:, -1]
    x, place = valid_first(x, mask)
    y = run_one(rnn, x, initial, reverse)
    start = initial if start_from_state else None
    return back_in_place(y, place, mask, zero_output, start), last_valid(y, place, initial)


def run_rnn(rnn, x, mask=None, state=None, *, reverse=False, zero_output=False, start_from_state=False):
    return run_gru(rnn, x, mask, state, reverse=reverse, zero_output=zero_output, start_from_state=start_from_state)


def run_lstm_outputs(rnn, x, mask=None, state=None, *, reverse=False, zero_output=False, start_from_state=False):
    """nn.LSTM as Keras runs it: the outputs of all steps. Masked steps hold the state."""
    h, c = [x.new_zeros(x.shape[0], rnn.hidden_size)] * 2 if state is None else state
    place = None
    if mask is not None:
        x, place = valid_first(x, mask)
    states = (h.unsqueeze(0), c.unsqueeze(0))
    y = torch.lstm(x, states, direction(rnn, reverse), rnn.bias, 1, 0.0, rnn.training, False, True)[0]
    return y if mask is None else back_in_place(y, place, mask, zero_output, h if start_from_state else None)


def run_lstm(rnn, x, mask=None, state=None, *, reverse=False, zero_output=False, start_from_state=False):
    """The same with the final states: (outputs, h, c). Under a mask the steps are packed, for the sake of c."""
    h, c = [x.new_zeros(x.shape[0], rnn.hidden_size)] * 2 if state is None else state
    weights = direction(rnn, reverse)
    if mask is None:
        states = (h.unsqueeze(0), c.unsqueeze(0))
        y, h, c = torch.lstm(x, states, weights, rnn.bias, 1, 0.0, rnn.training, False, True)
        return y, h[0], c[0]
    front, place = valid_first(x, mask)
    lengths = place[:, -1] + 1
    packed = pack_padded_sequence(front, lengths.clamp_min(1).cpu(), batch_first=True, enforce_sorted=False)
    states = tuple(s.index_select(0, packed.sorted_indices).unsqueeze(0) for s in (h, c))
    data, *ends = torch.lstm(packed.data, packed.batch_sizes, states, weights, rnn.bias, 1, 0.0, rnn.training, False)
    y, _ = pad_packed_sequence(PackedSequence(data, *packed[1:]), batch_first=True, total_length=x.shape[1])
    none = (lengths == 0).unsqueeze(-1)
    ends = [torch.where(none, start, e[0].index_select(0, packed.unsorted_indices)) for start, e in zip((h, c), ends)]
    return back_in_place(y, place, mask, zero_output, h if start_from_state else None), *ends


def recall(memory, x):
    return memory.recall(x)


def remember(memory, *states):
    return memory.remember(*states)


def any_nonzero(tensors):
    return torch.stack([t.any() for t in tensors]).any()


def where(condition, x, y):
    return torch.where(condition, x, y)
