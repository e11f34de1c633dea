"""``edgewright engines``: where engines come from, and the timings of kernels that identical devices may share."""

from __future__ import annotations

from pathlib import Path

import click

from .agent import config_option as agent_config_option
from .fleet_state import fleet_paths, state_option
from .output import existing_path, json_option, new_folder, out_option, print_json, print_table, progress_bar, size

BACKENDS = click.Choice(["tensorrt"])
cache_folder = click.option("--cache", type=existing_path, help="The cache: STATE/cache of an agent; default: this user's.")


@click.group()
def engines() -> None:
    """Check, sign, import and refit engine folders; export and merge timing caches."""


@engines.command()
@click.argument("folder", type=existing_path)
@click.option("--state", type=existing_path, help="Trust the engines of the agent with this state folder, too.")
@json_option
def check(folder: Path, state: Path | None, as_json: bool) -> None:
    """Make every check on FOLDER that opening it makes: who built it, whether it is whole, whether it fits this device."""
    from ..engines.opening import check_folder
    from ..engines.provenance import DEFAULT_STATE, identity_folder, read_seals, trusted_keys

    path = folder.resolve()
    trusted = trusted_keys(identity_folder(), DEFAULT_STATE, *([state.resolve()] if state is not None else []))
    manifest = check_folder(path, trusted).manifest
    if as_json:
        print_json({"manifest": manifest, "seals": [seal.keyid for seal in read_seals(path)]})
        return
    key = manifest.key
    rows = [
        ["model", manifest.model],
        ["backend", f"{manifest.backend} {manifest.backend_version} on {manifest.provider}"],
        ["precision", manifest.precision],
        ["built for", f"{key.processor} {key.driver}".rstrip() if key is not None else ""],
        ["fingerprint", manifest.fingerprint],
        ["files", ", ".join(manifest.files)],
        ["sealed by", ", ".join(seal.keyid for seal in read_seals(path))],
    ]
    print_table(["what", "this engine"], rows)


@engines.command()
@click.argument("folder", type=existing_path)
@state_option
def sign(folder: Path, state: Path) -> None:
    """Sign the engine in FOLDER as the fleet's role `engines`, for devices that accept signed engines of this fingerprint.

    Only an engine that was built on this machine is signed.
    """
    from ..controller.keys import load_signer
    from ..core.trust import ROLE_ENGINES
    from ..core.wire.messages import Signature
    from ..engines.manifest import manifest_bytes
    from ..engines.opening import check_folder
    from ..engines.provenance import DOMAIN, trusted_by_user, write_seal

    path = folder.resolve()
    check_folder(path, trusted_by_user())
    sign_as_role = load_signer(fleet_paths(state), ROLE_ENGINES)
    write_seal(path, manifest_bytes(path), lambda data: Signature(*sign_as_role(DOMAIN + data)))
    click.echo(f"signed {path}; on an identical device: edgewright engines import {path.name}")


@engines.command("import")
@click.argument("folder", type=existing_path)
@agent_config_option
@json_option
def import_(folder: Path, config: Path, as_json: bool) -> None:
    """Take the engine in FOLDER, signed by the fleet's role `engines`, into this device's cache.

    A deployment that needs exactly its fingerprint uses it then instead of building. Run it as the agent's user.
    """
    from ..agent.config import config_from_toml
    from ..core.anchor import FOLLOWED_NAME
    from ..core.errors import Unfit
    from ..pipeline.cache import StageCache
    from ..pipeline.importing import import_engine

    agent = config_from_toml(config)
    if not agent.optimize.accept_signed_engines:
        message = "this device takes no engines from elsewhere"
        raise Unfit("engine-untrusted", message, f"Set accept_signed_engines = true in [optimize] of {config}")
    cache = StageCache(agent.state / "cache")
    manifest = import_engine(folder.resolve(), cache, agent.trust, agent.state / FOLLOWED_NAME)
    if as_json:
        print_json({"fingerprint": manifest.fingerprint, "cache": str(cache.folder)})
    else:
        click.echo(f"took {manifest.fingerprint} into {cache.folder}")


@engines.command()
@click.argument("folder", type=existing_path)
@click.argument("model", type=existing_path)
@out_option
@click.option("--max-seconds", type=click.FloatRange(1), default=600.0, show_default=True, help="Longest time that is allowed.")
@json_option
def refit(folder: Path, model: Path, out: Path, max_seconds: float, as_json: bool) -> None:
    """Write the engine in FOLDER with the weights of MODEL: the same graph, trained anew. Seconds instead of a build; TensorRT 10 and later.

    FOLDER was built here with --refittable.
    """
    import msgspec

    from ..core.errors import error_from_reason
    from ..pipeline.child import Limits, run_child
    from ..pipeline.request import BuildResult, RefitRequest

    with new_folder(out) as target, progress_bar(f"refitting {folder.name}") as progress:
        request = RefitRequest(folder=str(folder.resolve()), model=str(model.resolve()), out=str(target))
        outcome = run_child("refit", msgspec.json.encode(request), Limits(max_seconds, nice=0), on_progress=progress)
        if outcome.result is None:
            assert outcome.reason is not None
            raise error_from_reason(outcome.reason)
    result = msgspec.json.decode(outcome.result, type=BuildResult)
    if as_json:
        print_json(result)
    else:
        click.echo(f"{result.path}: {size(result.size_bytes)}, refitted in {result.build_s:.1f} s")


@engines.command()
@click.argument("backend", type=BACKENDS)
@click.argument("file", type=existing_path)
@cache_folder
def export_timings(backend: str, file: Path, cache: Path | None) -> None:
    """Write BACKEND's timings of this device to FILE, for identical devices."""
    from ..engines.trt.timing_cache import export_to
    from ..pipeline.cache import StageCache
    from ..pipeline.workshop import user_cache

    size_bytes = export_to(StageCache(cache or user_cache()).timing_cache(backend), file.resolve())
    click.echo(f"{file}: {size_bytes} bytes")


@engines.command()
@click.argument("backend", type=BACKENDS)
@click.argument("file", type=existing_path)
@cache_folder
def import_timings(backend: str, file: Path, cache: Path | None) -> None:
    """Merge the timings in FILE, of an identical device, into this device's."""
    from ..engines.trt.binding import load_binding
    from ..engines.trt.log import make_logger
    from ..engines.trt.network import new_builder
    from ..engines.trt.timing_cache import import_from
    from ..pipeline.cache import StageCache
    from ..pipeline.workshop import user_cache

    binding = load_binding("tensorrt")
    config = new_builder(binding, make_logger(binding.trt)).create_builder_config()
    import_from(binding, config, StageCache(cache or user_cache()).timing_cache(backend), file.resolve())
    click.echo(f"merged {file}")
