"""Scripts, and models of files alone that are run by them."""

from pathlib import Path

import pytest

from api.schemas.cubes import CubeCreate, CubeKind, CubePublic
from cubes.packing import pack_folder
from tests.api.campaign import Campaign, refused

TEMPLATE = Path(__file__).parents[2] / "cubes" / "templates" / "script"


def _script(campaign: Campaign, party: str = "benchmark_owner") -> CubePublic:
    pack = campaign.scratch / "script.tar"
    pack_folder(TEMPLATE, pack)
    client = campaign.client(party)
    found: CubePublic = client.cubes.create(
        CubeCreate(name="script", kind=CubeKind.SCRIPT, pack_digest=client.blobs.upload(pack))
    )
    return found


def _model_of(campaign: Campaign, script: CubePublic, files: bytes | None = b"weights") -> CubePublic:
    client = campaign.client("model_owner")
    pack = campaign.scratch / "fetched.tar"
    client.blobs.download(script.pack_digest, pack)
    client.blobs.upload(pack)
    weights = None if files is None else campaign.upload_demo("model_owner", files)
    found: CubePublic = client.cubes.create(
        CubeCreate(
            name="files-alone",
            kind=CubeKind.MODEL,
            pack_digest=script.pack_digest,
            additional_files_digest=weights,
        )
    )
    return found


@pytest.mark.stage("opened")
class TestRegister:
    def test_a_script_is_for_everybody_who_is_signed_in(self, campaign: Campaign) -> None:
        script = _script(campaign)
        campaign.client("stranger").blobs.download(script.pack_digest, campaign.scratch / "s.tar")

    def test_a_model_of_files_names_script_and_files_by_digest(self, campaign: Campaign) -> None:
        script = _script(campaign)
        model = _model_of(campaign, script)
        assert (model.kind, model.pack_digest) == (CubeKind.MODEL, script.pack_digest)
        assert model.additional_files_digest is not None

    def test_its_files_are_no_more_open_than_those_of_other_models(self, campaign: Campaign) -> None:
        model = _model_of(campaign, _script(campaign))
        with refused(404, "may have"):
            campaign.client("stranger").blobs.download(str(model.additional_files_digest), campaign.scratch / "w")

    def test_without_files_it_is_no_model(self, campaign: Campaign) -> None:
        with refused(422, "that of a 'script', not of a 'model'"):
            _model_of(campaign, _script(campaign), None)

    def test_a_script_is_no_benchmark_s_cube(self, campaign: Campaign) -> None:
        script = _script(campaign)
        with refused(422, "not a metrics"):
            campaign.client("benchmark_owner").benchmarks.create(
                campaign.specification(name="odd", metrics_cube_id=script.id)
            )
