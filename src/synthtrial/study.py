"""Read a study: YAML plus overrides in, a checked and frozen :class:`Study` out.

    study = load("digits", ["protocol.replicates=20"])

A study is named by a file's path or by the name of a shipped one. Every mistake ends in one
:class:`~synthtrial.errors.ConfigError` that says where, what was got and what is allowed.
"""

from __future__ import annotations

import dataclasses
import itertools
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from synthtrial import registry
from synthtrial.checks import find_problems
from synthtrial.config import (
    ArmConfig,
    BalanceConfig,
    GanTrainingConfig,
    StudySettings,
    TrainingConfig,
)
from synthtrial.errors import ConfigError, suggest
from synthtrial.identity import digest, non_default
from synthtrial.registry import Component, Kind
from synthtrial.settings_files import (
    OPEN_SECTIONS,
    explain,
    find_file,
    forget_questions,
    override,
    read_file,
    without_null_sections,
)

_Config = TypeVar("_Config", TrainingConfig, GanTrainingConfig)


@dataclass(frozen=True)
class Chosen:
    """A plug-in with the options that the study gives it."""

    component: Component
    options: Any

    @property
    def name(self) -> str:
        """The plug-in's name."""
        return self.component.name

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What an id keeps of it: name, algorithm version, and options off their defaults.

        A component with an ``identity`` of its own says itself what is kept of the options.
        """
        keep = self.component.load_identity() or non_default
        return {
            "name": self.component.name,
            "version": self.component.version,
            **keep(self.options),
        }

    def load(self) -> Any:
        """Import the implementation and call it with the options, as dataset plug-ins are used."""
        return self.component.load()(self.options)


@dataclass(frozen=True, eq=False)
class Arm:
    """A checked arm: its settings, its transforms and, where images are added, how many.

    Attributes:
        gan_training: how the generator of its images is trained.
    """

    name: str
    settings: ArmConfig
    augment: tuple[Chosen, ...]
    balance: BalanceConfig | None
    gan_training: GanTrainingConfig

    @property
    def adds_images(self) -> bool:
        """Whether rows are added to the regimen's own."""
        return self.settings.synthetic or self.settings.repeat is not None


@dataclass(frozen=True, eq=False)
class Study:
    """One study, checked. Build it with :func:`load`.

    Attributes:
        words: what a person types behind a verb to mean this study: its name or file, overrides,
            engine. What :meth:`replace` changes is not in them.
    """

    settings: StudySettings
    dataset: Chosen
    classifier: Chosen
    generator: Chosen | None
    arms: Mapping[str, Arm]
    configurations: tuple[Mapping[str, Any], ...]
    reference_training: TrainingConfig
    words: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The study's name."""
        return self.settings.name

    @property
    def store_path(self) -> Path:
        """Folder of the store, ``~`` expanded."""
        return Path(self.settings.store.path).expanduser()

    @property
    def report_path(self) -> Path:
        """Folder of this study's report, ``~`` expanded."""
        return Path(self.settings.store.report_path).expanduser() / self.name

    @property
    def draws(self) -> int:
        """Number of draws: by default one for each replicate."""
        protocol = self.settings.protocol
        return protocol.replicates if protocol.draws is None else protocol.draws

    @property
    def minority(self) -> list[str]:
        """Names of the classes of interest."""
        settings = self.settings
        return (
            settings.statistics.minority or settings.balance.classes or settings.imbalance.classes
        )

    @property
    def uses_reference(self) -> bool:
        """Whether a reference classifier judges made images."""
        filtering = any(arm.settings.filter is not None for arm in self.arms.values())
        return filtering or self.settings.quality.features != "none"

    def maker(self, arm: Arm) -> Arm:
        """Return the arm whose images an arm adds: its own, or those that it takes a dose of."""
        return self.arms[arm.settings.dose_of] if arm.settings.dose_of is not None else arm

    @cached_property
    def gan_trainings(self) -> tuple[GanTrainingConfig, ...]:
        """How generators are trained: what differs between arms, each once, in their order."""
        making = (arm for arm in self.arms.values() if arm.settings.synthetic)
        found: list[GanTrainingConfig] = []
        for arm in making:
            training = self.maker(arm).gan_training
            found += [training] if training not in found else []
        return tuple(found)

    def snapshot(self) -> str:
        """Return the whole study as YAML that :func:`load` reads back to an equal one."""
        return OmegaConf.to_yaml(OmegaConf.structured(self.settings))

    @cached_property
    def digest(self) -> str:
        """Digest of every setting, those that enter no id included; names the snapshot."""
        return digest(dataclasses.asdict(self.settings))

    def training(self, configuration: Mapping[str, Any]) -> TrainingConfig:
        """Return the training settings at one point of the grid."""
        return dataclasses.replace(self.settings.training, **configuration)

    def replace(self, overrides: Sequence[str]) -> Study:
        """Return this study with further ``key=value`` overrides."""
        raw = override(OmegaConf.create(self.snapshot()), overrides)
        return _check(raw, self.name, self.words)

    def command(self, verb: str, *options: str) -> str:
        """Return the command line of a verb about this study, to be pasted into a shell."""
        return shlex.join(["synthtrial", verb, *self.words, *options])


def shipped_folder() -> Path:
    """Return the folder of the shipped configs: inside a wheel, or the repository's own."""
    inside = Path(__file__).parent / "_shipped" / "configs"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "configs"


def shipped_studies() -> dict[str, Path]:
    """Return the shipped studies by name."""
    return {path.stem: path for path in sorted((shipped_folder() / "study").glob("*.yaml"))}


def shipped_engines() -> dict[str, Path]:
    """Return the shipped settings of engines by name."""
    return {path.stem: path for path in sorted((shipped_folder() / "engine").glob("*.yaml"))}


def load(study: str | Path, overrides: Sequence[str] = (), engine: str | None = None) -> Study:
    """Read a study by path or shipped name and apply ``key=value`` overrides.

    Args:
        study: a path, or the name of a shipped study.
        overrides: applied in order.
        engine: settings of the section ``engine``, beneath the overrides: the name of shipped ones
            or the path of a YAML file.

    Raises:
        ConfigError: no such study, bad YAML, an unknown key, a wrong type, an unknown plug-in, or
            settings that contradict each other.
    """
    raw: Any = _with_base(find_file(str(study), "study", shipped_studies()))
    if engine is not None:
        section = read_file(find_file(engine, "engine", shipped_engines()))
        raw = OmegaConf.merge(raw, {"engine": section})
    words = [str(study), *overrides, *(["--engine", engine] if engine else [])]
    return _check(override(raw, overrides), str(study), words)


def _with_base(path: Path, within: tuple[Path, ...] = ()) -> Any:
    """Read a study; where it names a ``base``, return that study with what this one says instead.

    A section whose keys the user names (arms, grid, plug-ins) replaces the one of the base; with
    the arms goes what the base asks about them.
    """
    raw: Any = read_file(path)
    base = raw.pop("base", None)
    if base is None:
        return raw
    beside = path.parent / str(base)
    place = beside if beside.is_file() else find_file(str(base), "study", shipped_studies())
    if place in (path, *within):
        raise ConfigError(f"{path}: the base '{base}' leads back to this study; name another one")
    parent = _with_base(place, (path, *within))
    for section in OPEN_SECTIONS:
        if section in raw:
            parent.pop(section, None)
    whole = OmegaConf.merge(parent, raw)
    if "arms" in raw:
        forget_questions(whole, asked=raw.get("statistics") or {})
    return whole


def _check(raw: Any, where: str, words: Sequence[str]) -> Study:
    try:
        settings = _settings(raw)
        arms = {name: _arm(name, config, settings) for name, config in settings.arms.items()}
        study = Study(
            settings=settings,
            dataset=_choose("dataset", settings.dataset),
            classifier=_choose("classifier", settings.classifier),
            generator=_choose("generator", settings.generator) if settings.generator else None,
            arms=arms,
            configurations=_configurations(settings),
            reference_training=_reference_training(settings),
            words=tuple(words),
        )
    except OmegaConfBaseException as error:
        raise ConfigError(f"study '{where}': {explain(error)}") from None
    except TypeError as error:  # OmegaConf's word for a mapping where a value belongs
        raise ConfigError(f"study '{where}': a section has the wrong form: {error}") from None
    problems = find_problems(study)
    if problems:
        raise ConfigError(f"study '{where}': " + "\n  ".join(problems))
    return study


def _settings(raw: Any) -> StudySettings:
    given: Any = OmegaConf.to_container(raw, resolve=True)
    given = {key: value for key, value in given.items() if value is not None}
    given = without_null_sections(given, StudySettings)
    arms = given.pop("arms", None) or {}
    if not isinstance(arms, dict):
        raise ConfigError("arms must map each arm's name to its settings, such as 'none: {}'")
    if not given.get("name"):
        raise ConfigError("the setting 'name' is missing; name the study in one word")
    for name, arm in arms.items():
        if not isinstance(arm, dict | None):
            raise ConfigError(f"arms.{name} is {arm!r}; a section takes settings as 'key: value'")
    presets = {name: non_default(_preset(str(name), arm)) for name, arm in arms.items()}
    stated = {name: {} if arm is None else arm for name, arm in arms.items()}
    # Unsafe for the first argument alone, which is ours: no time goes into copying it.
    schema = OmegaConf.structured(StudySettings)
    merged = OmegaConf.unsafe_merge(schema, given, {"arms": presets}, {"arms": stated})
    settings = OmegaConf.to_object(merged)
    assert isinstance(settings, StudySettings)
    return settings


def _preset(name: str, override: Any) -> ArmConfig:
    asked = override.get("preset") if isinstance(override, dict) else None
    known = registry.names("arm")
    if asked is None and name not in known:
        if not override:
            raise ConfigError(
                f"the arm '{name}' is empty and no installed arm has that name: "
                f"{suggest(name, known)} Give it settings, or 'preset: NAME'."
            )
        return ArmConfig()
    preset = registry.find("arm", asked or name).load()
    assert isinstance(preset, ArmConfig)
    return preset


def _arm(name: str, config: ArmConfig, settings: StudySettings) -> Arm:
    balance = None
    if config.synthetic or config.repeat is not None:
        source = config.balance
        if config.repeat is not None and config.repeat in settings.arms:
            source = settings.arms[config.repeat].balance
        balance = source or settings.balance
        if not balance.classes:
            classes = settings.balance.classes or settings.imbalance.classes
            balance = dataclasses.replace(balance, classes=list(classes))
        balance = dataclasses.replace(balance, classes=sorted(balance.classes))
    augment = tuple(_choose("augmentation", item) for item in config.augment)
    where = f"arms.{name}.gan_training"
    gan_training = _changed(settings.gan_training, config.gan_training, where)
    return Arm(name, config, augment, balance, gan_training)


def _choose(kind: Kind, section: Mapping[str, Any]) -> Chosen:
    options = dict(section)
    name = options.pop("name", None)
    if name is None:
        raise ConfigError(
            f"the section '{kind}' must name one: add 'name: ...'. "
            f"Installed: {', '.join(registry.names(kind))}."
        )
    component = registry.find(kind, str(name))
    try:
        merged = OmegaConf.unsafe_merge(OmegaConf.structured(component.config), options)
        return Chosen(component, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        raise ConfigError(f"the {kind} '{name}': {explain(error)}") from None


def _configurations(settings: StudySettings) -> tuple[Mapping[str, Any], ...]:
    allowed = {field.name for field in dataclasses.fields(TrainingConfig)}
    for axis, values in settings.grid.items():
        if axis not in allowed:
            raise ConfigError(f"grid: unknown axis '{axis}': {suggest(axis, allowed)}")
        if not values:
            raise ConfigError(f"grid: the axis '{axis}' has no values; give at least one")
    schema = _writable(TrainingConfig)
    axes = [
        [_axis_value(schema, axis, value) for value in values]
        for axis, values in settings.grid.items()
    ]
    return tuple(
        dict(zip(settings.grid, combination, strict=True))
        for combination in itertools.product(*axes)
    )


def _reference_training(settings: StudySettings) -> TrainingConfig:
    last = dataclasses.replace(settings.training, checkpoint="last")
    return _changed(last, settings.reference.training, "reference.training", fixed=("checkpoint",))


def _changed(
    config: _Config, changes: Mapping[str, Any], where: str, fixed: Sequence[str] = ()
) -> _Config:
    """Return a config with the values that a section of settings gives instead."""
    if not changes:
        return config
    allowed = {field.name for field in dataclasses.fields(config)} - {*fixed}
    schema = _writable(type(config))
    kept = {}
    for name, value in changes.items():
        if name not in allowed:
            raise ConfigError(f"{where}.{name}: {suggest(name, allowed)}")
        try:
            kept[name] = _axis_value(schema, name, value)
        except OmegaConfBaseException as error:
            raise ConfigError(f"{where}.{name}: {explain(error)}") from None
    return dataclasses.replace(config, **kept)


def _writable(config: type) -> Any:
    schema = OmegaConf.structured(config)
    OmegaConf.set_readonly(schema, value=False)
    return schema


def _axis_value(schema: Any, axis: str, value: Any) -> Any:
    OmegaConf.update(schema, axis, value)  # checks and converts it
    return schema[axis]
