"""Functions element by element: of numbers, bits and truth."""

from __future__ import annotations

import math

import torch


def absolute(x):
    return torch.abs(x)


def negative(x):
    return -x


def sign(x):
    return torch.sign(x)


def square(x):
    return torch.square(x)


def sqrt(x):
    return torch.sqrt(x)


def cbrt(x):
    return x.sign() * x.abs() ** (1 / 3)


def reciprocal(x):
    return torch.reciprocal(x)


def exp2(x):
    return torch.exp2(x)


def expm1(x):
    return torch.expm1(x)


def log(x):
    return torch.log(x)


def log10(x):
    return torch.log10(x)


def log1p(x):
    return torch.log1p(x)


def log2(x):
    return torch.log2(x)


def sin(x):
    return torch.sin(x)


def cos(x):
    return torch.cos(x)


def tan(x):
    return torch.tan(x)


def sinh(x):
    return torch.sinh(x)


def cosh(x):
    return torch.cosh(x)


def arcsin(x):
    return torch.asin(x)


def arccos(x):
    return torch.acos(x)


def arctan(x):
    return torch.atan(x)


def arcsinh(x):
    return torch.asinh(x)


def arccosh(x):
    return torch.acosh(x)


def arctanh(x):
    return torch.atanh(x)


def sinc(x):
    return torch.sinc(x)


def bessel_i0(x):
    return torch.i0(x)


def deg2rad(x):
    return torch.deg2rad(x)


def rad2deg(x):
    return torch.rad2deg(x)


def angle(x):
    """Of real numbers: pi for what is below zero, 0 for NaN as well."""
    return torch.where(x < 0, math.pi, torch.zeros_like(x))


def nought(x):
    return torch.zeros_like(x)


def always(x):
    return torch.ones_like(x, dtype=torch.bool)


def floor(x):
    return torch.floor(x)


def ceil(x):
    return torch.ceil(x)


def trunc(x):
    return torch.trunc(x)


def round_even(x):
    return torch.round(x)


def round_decimals(x, *, factor):
    return torch.round(x * factor) / factor


def clip(x, *, low, high):
    return x.clamp(low, high)


def nan_to_num(x, *, nan, posinf, neginf):
    return torch.nan_to_num(x, nan, posinf, neginf)


def bits_as(x, *, dtype):
    return x.view(dtype)


def isfinite(x):
    return torch.isfinite(x)


def isinf(x):
    return torch.isinf(x)


def isnan(x):
    return torch.isnan(x)


def isneginf(x):
    return torch.isneginf(x)


def isposinf(x):
    return torch.isposinf(x)


def signbit(x):
    return torch.signbit(x)


def logical_not(x):
    return ~x


def logical_xor(x, y):
    return x ^ y


def bitwise_not(x):
    return ~x


def bitwise_and(x, y):
    return x & y


def bitwise_or(x, y):
    return x | y


def bitwise_xor(x, y):
    return x ^ y


def left_shift(x, y, *, most):
    return x << y.clamp(0, most)


def right_shift(x, y, *, most):
    return x >> y.clamp(0, most)


def divide(x, y):
    return x / y


def divide_no_nan(x, y):
    return torch.where(y == 0, 0, x / y)


def power(x, y):
    return torch.pow(x, y)


def floor_divide(x, y):
    """TensorFlow's: of floats the quotient, rounded, and then its floor."""
    z = torch.div(x, y)
    return torch.floor(z) if torch.is_floating_point(x + y) else torch.div(x, y, rounding_mode="floor")


def remainder(x, y):
    return torch.remainder(x, y)


def fmod(x, y):
    return torch.fmod(x, y)


def fmax(x, y):
    return torch.fmax(x, y)


def fmin(x, y):
    return torch.fmin(x, y)


def arctan2(x, y):
    return torch.atan2(x, y)


def hypot(x, y):
    return torch.hypot(x, y)


def heaviside(x, y):
    """NaN counts as zero, as with TensorFlow."""
    return torch.where(x < 0, 0, torch.where(x > 0, 1, y))


def logaddexp(x, y):
    return torch.logaddexp(x, y)


def logaddexp2(x, y):
    return torch.logaddexp2(x, y)


def ldexp(x, y):
    return torch.where(x.isinf() | (x == 0), x, x * torch.exp2(y))


def next_after(x, y):
    """Of the numbers as float64, as Keras on TensorFlow computes it."""
    return torch.nextafter(x.double(), y.double()).to(x.dtype)


def gcd(x, y):
    return torch.gcd(x, y)


def lcm(x, y):
    return torch.lcm(x, y)


def equal(x, y):
    return x == y


def greater(x, y):
    return x > y


def greater_equal(x, y):
    return x >= y


def less(x, y):
    return x < y


def less_equal(x, y):
    return x <= y


def is_close(x, y, *, rtol, atol, equal_nan):
    """Two infinities are not close, as with TensorFlow."""
    close = (x - y).abs() <= atol + rtol * y.abs()
    return close | (x.isnan() & y.isnan()) if equal_nan else close


def all_close(x, y, *, rtol, atol, equal_nan):
    return torch.isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan).all()


def all_equal(x, y):
    return (x == y).all()


def is_in(x, values, *, invert):
    return torch.isin(x, values, invert=invert)
