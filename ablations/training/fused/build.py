"""Whether one program can train a configuration's runs, and the program."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ablations.core.random import Draws, GlobalDraws, Streams
from ablations.core.registry import is_foreign, is_redefined
from ablations.models.base import build_network, finish_network
from ablations.study.configuration import Configuration, Run
from ablations.tasks.base import Data, Task
from ablations.techniques.base import Optimizer, RandomLayer
from ablations.training.fused.layers.base import NotStackableError
from ablations.training.fused.networks import map_module, stack_sequence
from ablations.training.fused.program import (
    CohortProgram,
    CohortRandomness,
    StepInput,
    StepOutput,
    regularizer_layers,
    stack_member_params,
)
from ablations.training.loop import load_data, set_draws
from ablations.training.statistics import recompute_statistics

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def build_program(configuration: Configuration) -> CohortProgram:
    """Build the program that trains a configuration's runs; NotStackableError if none can."""
    _check_components(configuration)
    device = configuration.device.torch_device()
    # Without an init: runs of one cohort may differ in it, and an init that raises must fail only
    # its own runs.
    with Streams(0).isolated(device):
        template = finish_network(build_network(configuration), configuration)
    _check_hooks(template)
    _check_random_layers(configuration, template)
    row = torch.zeros(1, configuration.task.inputs, dtype=configuration.torch_dtype).to(device)
    try:
        program = CohortProgram(configuration, stack_sequence(template, row))
    except NotStackableError:
        return _map_over_members(configuration, template)
    if configuration.user_modules:
        _check_global_draws(program, template)
    return program


def _check_components(c: Configuration) -> None:
    """Refuse components that do more in the plain loop than the parts that a program executes."""
    if c.regularizer.has_own_hooks():
        reason = f"the regularizer '{c.regularizer.name}' is more than its penalties"
        raise NotStackableError(reason)
    if type(c.optimizer).update is Optimizer.update:
        raise NotStackableError(f"the optimizer '{c.optimizer.name}' has no 'update'")
    if is_redefined(type(c.optimizer), "build", "update"):
        raise NotStackableError(f"the optimizer '{c.optimizer.name}' has a 'build' of its own")
    if c.optimizer.user_modules() and not _is_update_of_build(c):
        raise NotStackableError(
            f"the optimizer '{c.optimizer.name}' has an 'update' unlike 'build'"
        )
    if type(c.task).mean_loss is not Task.mean_loss or type(c.task).losses is Task.losses:
        raise NotStackableError(f"the task '{c.task.name}' has no loss of each row")
    limits_lengths = not math.isinf(c.regularizer.penalties().max_norm)
    if limits_lengths and is_foreign(type(c.norm), "lengths"):
        raise NotStackableError(f"the norm '{c.norm.name}' has 'lengths' of its own")


def _is_update_of_build(c: Configuration) -> bool:
    """Whether a user's optimizer takes the same steps in both forms, on five numbers in float64."""
    expected = torch.linspace(-1, 1, 5, dtype=torch.float64).requires_grad_()
    parameters = expected.detach().clone()
    requested = c.regularizer.penalties().decay
    decay = c.optimizer.decay(requested)
    reference = c.optimizer.build([expected], c.lr, requested)
    moments = tuple(torch.zeros_like(parameters) for _ in range(c.optimizer.moments))
    for step in range(1, 6):
        gradient = (2 * parameters - 1) * step
        expected.grad = gradient.clone()
        reference.step()
        factors = tuple(torch.tensor(f, dtype=torch.float64) for f in c.optimizer.factors(step))
        coupled, decoupled = (0.0, decay.amount) if decay.decoupled else (decay.amount, 0.0)
        gradient = gradient + coupled * parameters
        change, moments = c.optimizer.update(gradient, moments, factors)
        parameters = parameters * (1 - c.lr * decoupled) - c.lr * change
    return torch.allclose(parameters, expected.detach(), rtol=1e-6, atol=1e-12)


def _check_hooks(template: nn.Module) -> None:
    """Refuse what acts beside the layers' own computation: only the plain loop runs it."""
    for name, parameter in template.named_parameters():
        if not parameter.requires_grad:
            raise NotStackableError(f"the parameter {name} is frozen")
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise NotStackableError(f"the parameter {name} has a hook")
    for module in template.modules():
        if any(getattr(module, hook, None) for hook in _HOOKS):
            raise NotStackableError(f"a layer has a hook: {type(module).__name__}")
        if "forward" in vars(module):
            raise NotStackableError(f"a {type(module).__name__} has a forward pass of its own")


def _check_random_layers(configuration: Configuration, template: nn.Module) -> None:
    """Refuse random layers whose parameters a cohort cannot look up by their purpose."""
    n_sites = configuration.model.n_regularizer_sites(configuration.task)
    purposes = regularizer_layers(configuration.regularizer, n_sites)
    for layer in template.modules():
        if not isinstance(layer, RandomLayer):
            continue
        if type(layer).forward is not RandomLayer.forward:
            raise NotStackableError(f"{type(layer).__name__} has its own forward pass")
        if layer.purpose not in purposes:
            reason = f"the layer '{layer.purpose}' stands where the regularizer was not asked"
            raise NotStackableError(reason)


def _map_over_members(configuration: Configuration, template: nn.Module) -> CohortProgram:
    """Map a network without a stacked form over members, if that gives the same numbers."""
    data = load_data(configuration, Streams(0))
    try:
        linears = configuration.model.weighted_layers(template)
        program = CohortProgram(configuration, map_module(template, linears, data.x_train[:2]))
        _check_against_module(program, template, data)
    except NotStackableError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise NotStackableError(f"torch.func.vmap cannot run its network: {reason}") from error
    return program


def _check_against_module(program: CohortProgram, template: nn.Module, data: Data) -> None:
    """Compare one step of two equal members with the module itself."""
    c = program.configuration
    rows = slice(0, c.rows_per_batch)
    x_BI, y_B = data.x_train[rows], data.y_train[rows]
    output, evaluated = _first_step(program, template, x_BI, y_B)
    set_draws(template, Draws(Streams(0)))
    with torch.no_grad(), Streams(0).isolated(c.device.torch_device()):
        template.eval()
        expected = template(x_BI)
        template.train()
        expected_loss = c.task.mean_loss(template(x_BI), y_B)
    set_draws(template, None)  # a layer without its perturbation raises from here on
    for name, buffer in program.network.initial_state(template).items():
        if not _all_close(output.state[name][0].to(buffer.dtype), buffer):
            raise NotStackableError(f"its buffer {name} is replaced, which is lost when mapped")
    if not _all_close(evaluated, expected) or not _all_close(output.loss_M, expected_loss):
        raise NotStackableError("its network gives other outputs when mapped over members")
    if program.recomputes_statistics:
        flat_MP = program.network.flatten(template).expand(2, -1)
        state = program.refresh(flat_MP, output.state, torch.stack([x_BI] * 2))
        recompute_statistics(template, x_BI)
        for name, buffer in program.network.initial_state(template).items():
            if not _all_close(state[name][0].to(buffer.dtype), buffer):
                raise NotStackableError(f"its buffer {name} is another when mapped over members")


def _check_global_draws(program: CohortProgram, template: nn.Module) -> None:
    """Refuse user code that draws from global generators in a step: members would share draws."""
    data = load_data(program.configuration, Streams(0))
    rows = slice(0, program.configuration.rows_per_batch)
    try:
        _first_step(program, template, data.x_train[rows], data.y_train[rows])
    except NotStackableError:
        raise
    except Exception:
        return  # it is raised again where it fails a run


def _first_step(
    program: CohortProgram, template: nn.Module, x_BI: Tensor, y_B: Tensor
) -> tuple[StepOutput, Tensor]:
    """One step of two equal members, and their outputs in evaluation mode before it."""
    runs = [Run(program.configuration, 0)] * 2
    network, params = program.network, stack_member_params(program, runs)
    flat_MP = network.flatten(template).expand(2, -1).clone()
    inputs = StepInput(
        flat_MP,
        tuple(torch.zeros_like(flat_MP) for _ in range(program.configuration.optimizer.moments)),
        {name: torch.stack([v, v]) for name, v in network.initial_state(template).items()},
        (torch.stack([x_BI] * 2), torch.stack([y_B] * 2)),
        CohortRandomness(program, runs, params).layer_draws(0, len(x_BI)),
        params,
        torch.zeros_like(flat_MP[:, :1]),
        program.optimizer_factors(range(1))[0],
    )
    with torch.no_grad(), Streams(0).isolated():
        draws = GlobalDraws()
        output = program.step(inputs)
        outputs = program.outputs(flat_MP, inputs.state, inputs.batch[0])
        if draws:
            raise NotStackableError("its code draws from a global generator in each step")
        return output, outputs


def _all_close(values: Tensor, expected: Tensor) -> bool:
    return torch.allclose(values, expected.expand_as(values), rtol=1e-3, atol=1e-5)
