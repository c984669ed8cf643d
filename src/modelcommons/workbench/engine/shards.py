"""shards: weights, gradients and the optimizer's state divided over the processes, for what one device cannot train.

A block's weights are gathered while it runs and given up again. Sources: Rajbhandari et al., ZeRO (2020); Zhao et al.,
PyTorch FSDP (2023), through torch's `fully_shard`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from modelcommons.workbench.engine import ranks
from modelcommons.workbench.engine.device import device


class Divided(nn.Module):
    """A network whose weights lie in pieces, one in each process; all of them run and undo it together."""

    def __init__(self, network: nn.Module) -> None:
        """Divides it in place: block by block where its library says what its blocks are, and the rest at once."""
        super().__init__()
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        self.network = network
        self.plain = {module: _own(module) for module in network.modules()}
        mesh = init_device_mesh(device().type, (ranks.count(),))
        for block in blocks(network):
            fully_shard(block, mesh=mesh)
        fully_shard(self, mesh=mesh, reshard_after_forward=True)

    def forward(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """What `work` comes to, with the weights outside of blocks in one piece, whatever methods of it are called."""
        return work(*arguments)

    def undo(self) -> None:
        """The network as it was, with all of its weights in every process."""
        made: dict[int, nn.Parameter] = {}
        for module, (kind, own) in self.plain.items():
            module.__class__ = kind
            module.__dict__.update(own)
            for name, weight in module.named_parameters(recurse=False, remove_duplicate=False):
                if id(weight) not in made:  # tied weights stay tied
                    made[id(weight)] = nn.Parameter(whole(weight.detach()), weight.requires_grad)
                module.register_parameter(name, made[id(weight)])


def blocks(network: nn.Module) -> list[nn.Module]:
    """The layers that stand in a row and are named by `_no_split_modules`, as transformers' models do."""
    names = {name for module in network.modules() for name in getattr(module, "_no_split_modules", None) or ()}
    rows = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    return [block for row in rows for block in row if type(block).__name__ in names]


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor that may lie in pieces; the processes gather it together."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def laid_out(like: Tensor, values: Tensor) -> Tensor:
    """A copy of whole values, the same in every process, that lies in memory and in pieces as `like` does."""
    if hasattr(like, "device_mesh"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(like, DTensor)
        return distribute_tensor(values.to(like.device), like.device_mesh, like.placements, src_data_rank=None).clone()
    return torch.empty_like(like).copy_(values)


def _own(module: nn.Module) -> tuple[type[nn.Module], dict[str, Any]]:
    """Its class and its hooks, which `fully_shard` changes."""
    hooks = {name: hook.copy() for name, hook in vars(module).items() if "hooks" in name and isinstance(hook, dict)}
    return type(module), hooks
